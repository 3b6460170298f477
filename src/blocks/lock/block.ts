import { type ComponentSet, explaining, type Named } from '../../components/sets.ts'
import { Code, messageOf, OutriderError } from '../../errors.ts'
import { type Around, once } from '../around.ts'
import type { LockStore, UnlockStatus } from './driver.ts'

export interface LockOptions {
  stores: ComponentSet<LockStore>
  appId: string
  around?: Around
}

export interface LockBlock {
  /** Whether the lock is ours now; `expiryInSeconds` must be positive. */
  tryLock(
    store: string,
    request: { resourceId: string; lockOwner: string; expiryInSeconds: number },
    signal?: AbortSignal,
  ): Promise<boolean>
  unlock(store: string, request: { resourceId: string; lockOwner: string }, signal?: AbortSignal): Promise<UnlockStatus>
}

/** Distributed locks; the order of the checks is Dapr's, clients see the first that fails. */
export function createLockBlock(options: LockOptions): LockBlock {
  const around = options.around ?? once

  const find = explaining(options.stores, (store: string, request: { resourceId: string; lockOwner: string }): Named<LockStore> => {
    if (options.stores.size === 0) {
      throw new OutriderError({
        code: 'ERR_LOCK_STORE_NOT_CONFIGURED',
        http: 500,
        grpc: Code.FailedPrecondition,
        message: 'lock store is not configured',
        hint: 'add a component of a lock.* type to the resources folder',
      })
    }
    if (!request.resourceId)
      throw malformed(`ResourceId is empty in lock store ${store}`, 'send resourceId, the name of what is to be locked')
    if (!request.lockOwner) throw malformed(`LockOwner is empty in lock store ${store}`, 'send lockOwner, a text that only this owner uses')
    const found = options.stores.get(store)
    if (found) return found
    throw new OutriderError({
      code: 'ERR_LOCK_STORE_NOT_FOUND',
      http: 400,
      grpc: Code.InvalidArgument,
      message: `lock store ${store} not found`,
      hint: `lock stores loaded: ${[...options.stores.keys()].join(', ')}`,
    })
  })

  return {
    async tryLock(store, request, signal) {
      if (!(request.expiryInSeconds > 0))
        throw malformed(`ExpiryInSeconds is not positive in lock store ${store}`, 'send expiryInSeconds as a positive whole number')
      const found = find(store, request)
      try {
        const id = lockId(found, options.appId, request.resourceId)
        return await around(
          store,
          'try_lock',
          (inner) => found.component.tryLock(id, request.lockOwner, request.expiryInSeconds, inner),
          signal,
        )
      } catch (error) {
        throw failure('ERR_TRY_LOCK', 'failed to try acquiring lock', error)
      }
    },
    async unlock(store, request, signal) {
      const found = find(store, request)
      try {
        const id = lockId(found, options.appId, request.resourceId)
        return await around(store, 'unlock', (inner) => found.component.unlock(id, request.lockOwner, inner), signal)
      } catch (error) {
        throw failure('ERR_UNLOCK', 'failed to release lock', error)
      }
    },
  }
}

/** The id as stored, `lock||<prefix>||<resourceId>`, after the store's keyPrefix (appid, name, none or a literal). */
export function lockId(store: Named<unknown>, appId: string, resourceId: string): string {
  // The name is matched in any case and the value lower-cased, as for state stores.
  const strategy = (store.properties.keyprefix ?? 'appid').trim().toLowerCase()
  if (resourceId.includes('||')) throw new Error(`input key/keyPrefix '${resourceId}' can't contain '||'`)
  if (strategy.includes('||')) throw new Error(`input key/keyPrefix '${strategy}' can't contain '||'`)
  switch (strategy) {
    case 'none':
      return `lock||${resourceId}`
    case 'name':
      return `lock||${store.name}||${resourceId}`
    case '':
    case 'appid':
      return `lock||${appId}||${resourceId}`
    default:
      return `lock||${strategy}||${resourceId}`
  }
}

function malformed(message: string, hint: string): OutriderError {
  return new OutriderError({ code: 'ERR_MALFORMED_REQUEST', http: 400, grpc: Code.InvalidArgument, message, hint })
}

function failure(code: string, what: string, cause: unknown): OutriderError {
  return new OutriderError({
    code,
    http: 500,
    grpc: Code.Internal,
    message: `${what}: ${messageOf(cause)}`,
    hint: 'check that the lock store is reachable, then try again',
    retryable: true,
    cause,
  })
}

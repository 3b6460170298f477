import { type ComponentSet, explaining } from '../../components/sets.ts'
import { Code, messageOf, OutriderError } from '../../errors.ts'
import { type Around, once } from '../around.ts'
import type { SecretStore } from './driver.ts'

/** One entry of a Configuration's spec.secrets.scopes. */
export interface SecretScope {
  storeName: string
  defaultAccess?: string | undefined
  allowedSecrets?: readonly string[] | undefined
  deniedSecrets?: readonly string[] | undefined
}

export interface SecretsOptions {
  stores: ComponentSet<SecretStore>
  scopes?: readonly SecretScope[]
  around?: Around
}

export interface SecretsBlock {
  /** One secret; undefined when the store answers without data. */
  get(
    store: string,
    key: string,
    metadata: Readonly<Record<string, string>>,
    signal?: AbortSignal,
  ): Promise<Record<string, string> | undefined>
  /** All secrets that the scopes let the app see. */
  bulkGet(
    store: string,
    metadata: Readonly<Record<string, string>>,
    signal?: AbortSignal,
  ): Promise<Record<string, Record<string, string>> | undefined>
}

/** Secrets as the app may read them: scopes first, then the store. */
export function createSecretsBlock(options: SecretsOptions): SecretsBlock {
  const around = options.around ?? once
  const scopes = new Map((options.scopes ?? []).map((scope) => [scope.storeName, scope]))

  const find = explaining(options.stores, (store: string): SecretStore => {
    if (options.stores.size === 0) {
      throw new OutriderError({
        code: 'ERR_SECRET_STORES_NOT_CONFIGURED',
        http: 500,
        grpc: Code.FailedPrecondition,
        message: 'secret store is not configured',
        hint: 'add a component of a secretstores.* type to the resources folder',
      })
    }
    const found = options.stores.get(store)
    if (found) return found.component
    throw new OutriderError({
      code: 'ERR_SECRET_STORE_NOT_FOUND',
      http: 401,
      grpc: Code.InvalidArgument,
      message: `failed finding secret store with key ${store}`,
      hint: `secret stores loaded: ${[...options.stores.keys()].join(', ')}`,
    })
  })

  return {
    async get(store, key, metadata, signal) {
      const component = find(store)
      if (!isSecretAllowed(scopes.get(store), key)) {
        throw new OutriderError({
          code: 'ERR_PERMISSION_DENIED',
          http: 403,
          grpc: Code.PermissionDenied,
          message: `access denied by policy to get "${key}" from "${store}"`,
          hint: 'allow the secret in spec.secrets.scopes of the Configuration this sidecar runs with',
        })
      }
      try {
        return await around(store, 'get', (inner) => component.get(key, metadata, inner), signal)
      } catch (error) {
        throw failure(error, `failed getting secret with key ${key} from secret store ${store}: ${messageOf(error)}`)
      }
    },
    async bulkGet(store, metadata, signal) {
      const component = find(store)
      try {
        const all = await around(store, 'bulk_get', (inner) => component.bulkGet(metadata, inner), signal)
        return all && Object.fromEntries(Object.entries(all).filter(([name]) => isSecretAllowed(scopes.get(store), name)))
      } catch (error) {
        throw failure(error, `failed getting secrets from secret store ${store}: ${messageOf(error)}`)
      }
    },
  }
}

/** Whether a scope lets the app read a secret: a non-empty allow list decides alone, then the deny list, then the default. */
export function isSecretAllowed(scope: SecretScope | undefined, key: string): boolean {
  if (!scope) return true
  if (scope.allowedSecrets?.length) return scope.allowedSecrets.includes(key)
  if (scope.deniedSecrets?.includes(key)) return false
  return scope.defaultAccess?.toLowerCase() !== 'deny'
}

function failure(cause: unknown, message: string): OutriderError {
  return new OutriderError({
    code: 'ERR_SECRET_GET',
    http: 500,
    grpc: Code.Internal,
    message,
    hint: 'check that the secret exists in the store and that the store is reachable',
    cause,
  })
}

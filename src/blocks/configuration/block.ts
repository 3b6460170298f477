import { randomUUID } from 'node:crypto'
import type { AppChannel } from '../../app/channel.ts'
import { type ComponentSet, explaining, type Named } from '../../components/sets.ts'
import { Code, errorInfo, messageOf, OutriderError } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import { type Around, once } from '../around.ts'
import type { ConfigurationItem, ConfigurationStore } from './driver.ts'
import { createUpdateQueue } from './update-queue.ts'

export type ConfigurationItems = Record<string, ConfigurationItem>
/** Takes one update to a subscriber; rejects when it did not get there. The next one waits for it. */
export type UpdateHandler = (id: string, items: ConfigurationItems) => Promise<void>
export interface Subscriber {
  update: UpdateHandler
  /** The subscription was ended, by whoever. */
  ended?: () => void
}

export interface ConfigurationOptions {
  stores: ComponentSet<ConfigurationStore>
  /** The HTTP app that updates are posted to; without it, only `subscribe` with a subscriber works. */
  app?: AppChannel | undefined
  log: Logger
  around?: Around
  /** The policy around calls to the app, by component. */
  inbound?: Around
  /** How many subscriptions may be open at once. Default 1000. */
  maxSubscriptions?: number
}

export interface ConfigurationBlock {
  /** Items that exist among `keys`; all items when `keys` is empty. */
  get(store: string, keys: readonly string[], metadata: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<ConfigurationItems>
  /** Watches keys (all when empty) for the HTTP app, or for `subscriber` when given; resolves to the id once changes are seen. */
  subscribe(store: string, keys: readonly string[], metadata: Readonly<Record<string, string>>, subscriber?: Subscriber): Promise<string>
  /** False when the store has no subscription of that id. */
  unsubscribe(store: string, id: string): Promise<boolean>
  /** Ends the subscription of this id, of whatever store; false when there is none. */
  end(id: string): Promise<boolean>
  /** Ends all subscriptions, or those of one store. */
  stop(store?: string): Promise<void>
}

/** Configuration items and their changes. */
export function createConfigurationBlock(options: ConfigurationOptions): ConfigurationBlock {
  const around = options.around ?? once
  const inbound = options.inbound ?? once
  const limit = options.maxSubscriptions ?? 1000
  const active = new Map<string, { store: string; end: () => Promise<void> }>()
  let opening = 0

  const find = explaining(options.stores, (store: string): Named<ConfigurationStore> => {
    if (options.stores.size === 0) {
      throw refusal(
        'ERR_CONFIGURATION_STORE_NOT_CONFIGURED',
        500,
        Code.FailedPrecondition,
        'configuration stores not configured',
        'add a component of a configuration.* type to the resources folder',
      )
    }
    const found = options.stores.get(store)
    if (found) return found
    throw refusal(
      'ERR_CONFIGURATION_STORE_NOT_FOUND',
      400,
      Code.InvalidArgument,
      `configuration store ${store} not found`,
      `configuration stores loaded: ${[...options.stores.keys()].join(', ')}`,
    )
  })

  const toApp =
    (app: AppChannel, store: string): UpdateHandler =>
    async (id, items) => {
      const body = Buffer.from(
        JSON.stringify({ id, items: Object.fromEntries(Object.entries(items).map(([key, item]) => [key, shownItem(item)])) }),
      )
      // The app hears of each key on its own path, always with the complete event.
      for (const key of Object.keys(items)) {
        try {
          await inbound(
            store,
            'update',
            async (signal) => {
              const path = `/configuration/${encodeURIComponent(store)}/${encodeURIComponent(key)}`
              const reply = await app.call({ method: 'POST', path, headers: { 'content-type': 'application/json' }, body, signal })
              if (reply.status !== 200) throw new Error(`the app answered ${reply.status} to POST ${path}`)
            },
            undefined,
          )
        } catch (error) {
          options.log.error(`configuration update of key ${key} from ${store} did not reach the app: ${messageOf(error)}`)
        }
      }
    }

  const end = async (id: string): Promise<boolean> => {
    const subscription = active.get(id)
    if (!subscription) return false
    active.delete(id)
    await around(subscription.store, 'unsubscribe', () => subscription.end(), undefined)
    return true
  }

  return {
    async get(store, keys, metadata, signal) {
      const found = find(store)
      try {
        return await around(store, 'get', (inner) => found.component.get(keys, metadata, inner), signal)
      } catch (error) {
        throw refusal(
          'ERR_CONFIGURATION_GET',
          500,
          Code.Internal,
          `failed to get [${keys.join(' ')}] from Configuration store ${store}: ${messageOf(error)}`,
          'check that the configuration store is reachable',
          error,
        )
      }
    },

    async subscribe(store, keys, metadata, subscriber) {
      const found = find(store)
      const deliver = subscriber?.update ?? (options.app && toApp(options.app, store))
      if (!deliver) {
        throw refusal(
          'ERR_APP_CHANNEL_NIL',
          500,
          Code.FailedPrecondition,
          'app channel is not initialized. cannot subscribe to configuration updates',
          'start the sidecar with --app-port, the port of the app that takes POST /configuration/{store}/{key}',
        )
      }
      const failed = (why: string, hint: string, cause?: unknown) =>
        refusal(
          'ERR_CONFIGURATION_SUBSCRIBE',
          500,
          Code.InvalidArgument,
          `failed to subscribe [${keys.join(' ')}] from Configuration store ${store}: ${why}`,
          hint,
          cause,
        )
      if (active.size + opening >= limit) throw failed(`${limit} subscriptions are open`, 'unsubscribe those that are not needed')
      const id = randomUUID()
      const queue = createUpdateQueue(
        (items) => deliver(id, items),
        (error) => options.log.error(`configuration update from ${store} was not delivered: ${messageOf(error)}`),
      )
      opening++
      try {
        const subscription = await around(
          store,
          'subscribe',
          () => found.component.subscribe(keys, metadata, async (items) => queue.push(items)),
          undefined,
        )
        const end = async () => {
          queue.close()
          subscriber?.ended?.()
          await subscription[Symbol.asyncDispose]()
        }
        active.set(id, { store, end })
        return id
      } catch (error) {
        queue.close()
        throw failed(messageOf(error), 'check that the configuration store is reachable', error)
      } finally {
        opening--
      }
    },

    async unsubscribe(store, id) {
      find(store)
      return active.get(id)?.store === store && end(id)
    },

    end,

    async stop(store) {
      const ending = [...active].filter(([, subscription]) => store === undefined || subscription.store === store)
      for (const [id] of ending) active.delete(id)
      await Promise.allSettled(ending.map(([, subscription]) => subscription.end()))
    },
  }
}

/** An item as JSON clients read it: empty members are left out. */
export function shownItem(item: ConfigurationItem): Partial<ConfigurationItem> {
  const shown: Partial<ConfigurationItem> = {}
  if (item.value) shown.value = item.value
  if (item.version) shown.version = item.version
  if (Object.keys(item.metadata).length > 0) shown.metadata = item.metadata
  return shown
}

function refusal(code: string, http: number, grpc: Code, message: string, hint: string, cause?: unknown): OutriderError {
  return new OutriderError({
    code,
    http,
    grpc,
    message,
    hint,
    details: [errorInfo(code)],
    ...(cause === undefined ? {} : { cause, retryable: true }),
  })
}

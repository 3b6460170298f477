import type { ConfigurationItem, ConfigurationStore } from '../../../blocks/configuration/driver.ts'
import { messageOf } from '../../../errors.ts'
import type { DriverModule } from '../../component.ts'
import { parseMetadata } from '../../metadata.ts'
import type { RedisClient } from '../../redis/client.ts'
import { redisFields } from '../../redis/fields.ts'
import { openRedis } from '../../redis/open.ts'

type Items = Record<string, ConfigurationItem>

interface Subscription {
  /** Empty: all keys. */
  keys: ReadonlySet<string>
  /** Texts last given, to find after a reconnect what changed while the connection was away. */
  seen: Map<string, string>
  onChange(items: Items): Promise<void>
}

/** configuration.redis: an item is a Redis string `value||version`; changes come as keyspace notifications. */
export const driver: DriverModule<ConfigurationStore> = {
  summary: 'Configuration in Redis.',
  metadata: redisFields,
  create(context) {
    const values = parseMetadata(redisFields, context.properties)
    let opened: RedisClient | undefined
    const client = () => {
      if (!opened) throw new Error(`configuration store ${context.name} is not connected`)
      return opened
    }
    const onError = (error: Error) => context.log.debug(`configuration store ${context.name}: ${error.message}`)
    const subscriptions = new Set<Subscription>()
    const channels = new Map<string, number>()
    const prefix = `__keyspace@${Number(values.redisDB)}__:`
    let listener: Promise<RedisClient> | undefined
    let closed = false

    const read = async (keys: readonly string[]): Promise<Items> => {
      const wanted = keys.length > 0 ? [...keys] : await allKeys()
      if (wanted.length === 0) return {}
      // A key of another type reads as null.
      const texts = (await client().call('MGET', ...wanted)) as (string | null)[]
      return Object.fromEntries(wanted.flatMap((key, index) => (texts[index] ? [[key, itemOf(texts[index])]] : [])))
    }
    const allKeys = async () => {
      const found = new Set<string>()
      let cursor = '0'
      do {
        const [next, page] = (await client().call('SCAN', cursor, 'COUNT', 500)) as [string, string[]]
        for (const key of page) found.add(key)
        cursor = next
      } while (cursor !== '0')
      return [...found]
    }
    const give = (subscription: Subscription, items: Items) => {
      for (const [key, item] of Object.entries(items)) {
        if (subscription.keys.has(key)) subscription.seen.set(key, JSON.stringify(item))
      }
      void subscription
        .onChange(items)
        .catch((error: unknown) => context.log.error(`configuration store ${context.name}: ${messageOf(error)}`))
    }
    // The server tells a key's channel and the pattern separately; each goes to the subscriptions that asked for it.
    const changed = async (key: string, pattern: boolean) => {
      const interested = [...subscriptions].filter((subscription) => (pattern ? subscription.keys.size === 0 : subscription.keys.has(key)))
      if (interested.length === 0) return
      const items = { [key]: EMPTY, ...(await read([key])) }
      for (const subscription of interested) if (subscriptions.has(subscription)) give(subscription, items)
    }
    const catchUp = async () => {
      for (const subscription of subscriptions) {
        if (subscription.keys.size === 0) continue
        const current = await read([...subscription.keys])
        const items = Object.fromEntries(
          [...subscription.keys]
            .map((key) => [key, current[key] ?? EMPTY] as const)
            .filter(([key, item]) => subscription.seen.get(key) !== JSON.stringify(item)),
        )
        if (Object.keys(items).length > 0) give(subscription, items)
      }
    }
    const complain = (error: unknown) =>
      context.log.warn(`configuration store ${context.name}: a change could not be read: ${messageOf(error)}`)

    const listen = async () => {
      await enableNotifications().catch((error: unknown) =>
        context.log.debug(`configuration store ${context.name}: notifications were not switched on: ${messageOf(error)}`),
      )
      const subscriber = await openRedis(values, {
        name: context.name,
        signal: AbortSignal.timeout(10_000),
        onError,
        // Reads of one key stay in the order of its notifications: they share one connection.
        onMessage: (channel, pattern) => void changed(channel.slice(prefix.length), pattern !== undefined).catch(complain),
        onReconnect: () => void resume(subscriber).catch(complain),
      }).catch((error: unknown) => {
        listener = undefined
        throw error
      })
      return subscriber
    }
    /** A new connection knows nothing of the old one's channels. */
    const resume = async (subscriber: RedisClient) => {
      const names = [...channels.keys()]
      const plain = names.filter((name) => name !== `${prefix}*`)
      if (plain.length > 0) await subscriber.call('SUBSCRIBE', ...plain)
      if (plain.length < names.length) await subscriber.call('PSUBSCRIBE', `${prefix}*`)
      await catchUp()
    }
    const enableNotifications = async () => {
      const reply = (await client().call('CONFIG', 'GET', 'notify-keyspace-events')) as string[]
      const flags = new Set([...(reply[1] ?? ''), ...'Kg$xe'])
      // A is short for all kinds of events.
      await client().call('CONFIG', 'SET', 'notify-keyspace-events', [...flags].join(''))
    }
    const channelsOf = (keys: ReadonlySet<string>) => (keys.size === 0 ? [`${prefix}*`] : [...keys].map((key) => prefix + key))

    return {
      async init(signal) {
        opened ??= await openRedis(values, { name: context.name, signal, onError })
      },
      async ping() {
        await client().call('PING')
      },
      get: (keys) => read(keys),
      async subscribe(keys, _metadata, onChange) {
        listener ??= listen()
        const subscriber = await listener
        const subscription: Subscription = { keys: new Set(keys), seen: new Map(), onChange }
        const all = subscription.keys.size === 0
        const names = channelsOf(subscription.keys)
        await subscriber.call(all ? 'PSUBSCRIBE' : 'SUBSCRIBE', ...names)
        for (const name of names) channels.set(name, (channels.get(name) ?? 0) + 1)
        const current = all ? {} : await read([...subscription.keys])
        for (const key of subscription.keys) subscription.seen.set(key, JSON.stringify(current[key] ?? EMPTY))
        subscriptions.add(subscription)
        return {
          async [Symbol.asyncDispose]() {
            if (!subscriptions.delete(subscription) || closed) return
            const unused = names.filter((name) => {
              const left = (channels.get(name) ?? 1) - 1
              if (left > 0) channels.set(name, left)
              else channels.delete(name)
              return left <= 0
            })
            if (unused.length > 0) await subscriber.call(all ? 'PUNSUBSCRIBE' : 'UNSUBSCRIBE', ...unused)
          },
        }
      },
      async [Symbol.asyncDispose]() {
        closed = true
        subscriptions.clear()
        const subscriber = await listener?.catch(() => undefined)
        await subscriber?.close()
        await opened?.close()
      },
    }
  },
}

const EMPTY: ConfigurationItem = { value: '', version: '', metadata: {} }

function itemOf(text: string): ConfigurationItem {
  const [value = '', version = ''] = text.split('||')
  return { value, version, metadata: {} }
}

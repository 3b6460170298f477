import type { ConfigurationItem, ConfigurationStore } from '../../../blocks/configuration/driver.ts'
import { messageOf } from '../../../errors.ts'
import type { DriverModule } from '../../component.ts'
import { parseMetadata } from '../../metadata.ts'
import { closeRedis, connectRedis, redisClient, redisFields } from '../../redis-connection.ts'

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
    const client = redisClient(values)
    const subscriptions = new Set<Subscription>()
    const channels = new Map<string, number>()
    const prefix = `__keyspace@${Number(values.redisDB)}__:`
    let listener: Promise<typeof client> | undefined
    let closed = false

    const read = async (keys: readonly string[]): Promise<Items> => {
      const wanted = keys.length > 0 ? [...keys] : await allKeys()
      if (wanted.length === 0) return {}
      // A key of another type reads as null.
      const texts = await client.mget(wanted)
      return Object.fromEntries(wanted.flatMap((key, index) => (texts[index] ? [[key, itemOf(texts[index])]] : [])))
    }
    const allKeys = async () => {
      const found = new Set<string>()
      for await (const page of client.scanStream({ count: 500 })) for (const key of page as string[]) found.add(key)
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
      const subscriber = client.duplicate({ lazyConnect: true, commandTimeout: undefined })
      try {
        await connectRedis(subscriber, AbortSignal.timeout(10_000))
      } catch (error) {
        listener = undefined
        throw error
      }
      // Reads of one key stay in the order of its notifications: they share one connection.
      subscriber.on('message', (channel: string) => void changed(channel.slice(prefix.length), false).catch(complain))
      subscriber.on('pmessage', (_pattern: string, channel: string) => void changed(channel.slice(prefix.length), true).catch(complain))
      subscriber.on('ready', () => void catchUp().catch(complain))
      return subscriber
    }
    const enableNotifications = async () => {
      const reply = (await client.config('GET', 'notify-keyspace-events')) as string[]
      const flags = new Set([...(reply[1] ?? ''), ...'Kg$xe'])
      // A is short for all kinds of events.
      await client.config('SET', 'notify-keyspace-events', [...flags].join(''))
    }
    const channelsOf = (keys: ReadonlySet<string>) => (keys.size === 0 ? [`${prefix}*`] : [...keys].map((key) => prefix + key))

    return {
      init: (signal) => connectRedis(client, signal),
      async ping() {
        await client.ping()
      },
      get: (keys) => read(keys),
      async subscribe(keys, _metadata, onChange) {
        listener ??= listen()
        const subscriber = await listener
        const subscription: Subscription = { keys: new Set(keys), seen: new Map(), onChange }
        const all = subscription.keys.size === 0
        const names = channelsOf(subscription.keys)
        await (all ? subscriber.psubscribe(...names) : subscriber.subscribe(...names))
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
            if (unused.length > 0) await (all ? subscriber.punsubscribe(...unused) : subscriber.unsubscribe(...unused))
          },
        }
      },
      async [Symbol.asyncDispose]() {
        closed = true
        subscriptions.clear()
        const subscriber = await listener?.catch(() => undefined)
        if (subscriber) await closeRedis(subscriber)
        await closeRedis(client)
      },
    }
  },
}

const EMPTY: ConfigurationItem = { value: '', version: '', metadata: {} }

function itemOf(text: string): ConfigurationItem {
  const [value = '', version = ''] = text.split('||')
  return { value, version, metadata: {} }
}

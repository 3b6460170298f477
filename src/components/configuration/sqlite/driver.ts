import { type FSWatcher, watch } from 'node:fs'
import { basename, dirname } from 'node:path'
import type { ConfigurationItem, ConfigurationStore } from '../../../blocks/configuration/driver.ts'
import { type Database, openSqlite } from '../../../storage/sqlite.ts'
import type { DriverModule } from '../../component.ts'
import { type MetadataField, parseMetadata } from '../../metadata.ts'
import { TABLES } from './tables.ts'

const fields: readonly MetadataField[] = [
  {
    name: 'connectionString',
    kind: 'string',
    required: true,
    description: 'Path of the SQLite file; items are the rows of its table `configuration`.',
  },
  { name: 'busyTimeout', kind: 'duration', unit: 1, default: '5s', description: "How long to wait for another process's write." },
]

/**
 * Milliseconds after the doorbell at which to look again: the bell rings when bytes reach the write-ahead log,
 * a moment before the writer makes the commit visible.
 */
const LOOK_AGAIN = [20, 200, 2000]

interface Subscription {
  keys: ReadonlySet<string>
  onChange(items: Record<string, ConfigurationItem>): Promise<void>
}

type Items = Record<string, ConfigurationItem>

/** configuration.sqlite: the embedded configuration store; any program that writes the table is heard at once. */
export const driver: DriverModule<ConfigurationStore> = {
  summary: 'Configuration in a SQLite file, for the processes of one machine.',
  metadata: fields,
  create(context) {
    const values = parseMetadata(fields, context.properties)
    const path = String(values.connectionString).replace(/^file:([^?]*).*$/, '$1')
    const subscriptions = new Set<Subscription>()
    let database: Database | undefined
    let watcher: FSWatcher | undefined
    let seen = 0
    let timers: NodeJS.Timeout[] = []

    const opened = (): Database => {
      if (!database) throw new Error(`configuration store ${context.name} is closed`)
      return database
    }
    const read = (keys: readonly string[]): Items => {
      const rows =
        keys.length === 0
          ? opened().prepare('SELECT key, value, version, metadata FROM configuration').all()
          : opened()
              .prepare('SELECT key, value, version, metadata FROM configuration WHERE key IN (SELECT value FROM json_each(?))')
              .all(JSON.stringify(keys))
      return Object.fromEntries(
        rows.map((row) => [
          String(row.key),
          { value: String(row.value), version: String(row.version), metadata: metadataOf(row.metadata) },
        ]),
      )
    }
    const lastChange = () => Number(opened().prepare('SELECT COALESCE(MAX(seq), 0) AS seq FROM configuration_changes').get()?.seq ?? 0)

    const look = () => {
      if (!database || subscriptions.size === 0) return
      try {
        const changes = database.prepare('SELECT seq, key FROM configuration_changes WHERE seq > ? ORDER BY seq').all(seen)
        if (changes.length === 0) return
        // Older entries are cut off by the trigger; a gap means that anything may have changed.
        const missed = Number(changes[0]?.seq) > seen + 1
        seen = Number(changes.at(-1)?.seq)
        const changed = new Set(changes.map((change) => String(change.key)))
        const current = read(missed ? [] : [...changed])
        const names = missed ? new Set([...Object.keys(current), ...changed]) : changed
        for (const subscription of subscriptions) {
          const items: Items = {}
          for (const key of names) {
            if (subscription.keys.size === 0 || subscription.keys.has(key))
              items[key] = current[key] ?? { value: '', version: '', metadata: {} }
          }
          if (Object.keys(items).length > 0)
            void subscription.onChange(items).catch((error: unknown) => context.log.error(`configuration store ${context.name}: ${error}`))
        }
      } catch (error) {
        context.log.warn(`configuration store ${context.name}: changes cannot be read: ${error instanceof Error ? error.message : error}`)
      }
    }
    const stopLooking = () => {
      for (const timer of timers) clearTimeout(timer)
      timers = []
    }
    const ring = () => {
      look()
      stopLooking()
      timers = LOOK_AGAIN.map((delay) => setTimeout(look, delay).unref())
    }

    return {
      async init() {
        database = openSqlite(path, { busyTimeout: Number(values.busyTimeout) })
        database.exec(TABLES)
      },
      async ping() {
        // It only reads: the lock of others is no concern of it.
        opened().prepare('SELECT 1').get()
      },
      async get(keys) {
        return read(keys)
      },
      async subscribe(keys, _metadata, onChange) {
        if (!watcher) {
          seen = lastChange()
          const file = basename(path)
          watcher = watch(dirname(path), { persistent: false }, (_event, name) => {
            if (name === null || name === file || name === `${file}-wal`) ring()
          })
          watcher.on('error', (error) =>
            context.log.error(`configuration store ${context.name}: ${path} cannot be watched: ${error.message}`),
          )
        } else look()
        const subscription: Subscription = { keys: new Set(keys), onChange }
        // The watch may have been off until now: what came before belongs to nobody.
        if (subscriptions.size === 0) seen = lastChange()
        subscriptions.add(subscription)
        return {
          async [Symbol.asyncDispose]() {
            subscriptions.delete(subscription)
            if (subscriptions.size > 0) return
            watcher?.close()
            watcher = undefined
            stopLooking()
          },
        }
      },
      async [Symbol.asyncDispose]() {
        subscriptions.clear()
        watcher?.close()
        watcher = undefined
        stopLooking()
        database?.close()
        database = undefined
      },
    }
  },
}

function metadataOf(text: unknown): Record<string, string> {
  try {
    const value: unknown = JSON.parse(String(text))
    if (value === null || typeof value !== 'object' || Array.isArray(value)) return {}
    return Object.fromEntries(Object.entries(value).map(([name, entry]) => [name, String(entry)]))
  } catch {
    return {}
  }
}

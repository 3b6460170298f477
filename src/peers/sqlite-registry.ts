import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { openSqlite } from '../storage/sqlite.ts'
import type { Address, Registration, Resolver } from './resolver.ts'

export interface SqliteRegistryOptions {
  /** The data folder's shared file. */
  path: string
  /** Milliseconds between two signs of life. Default 5000. */
  heartbeat?: number
  /** Milliseconds after its last sign of life that an entry counts. Default 15,000. */
  expiry?: number
  /** Milliseconds that an unknown app may still turn up in. Default 80. */
  watch?: number
  onError?: (error: Error) => void
}

interface Row {
  id: string
  host: string
  port: number
  pid: number
  machine: string
  namespace: string
}

const MACHINE = hostname()
const CACHE_LIMIT = 1000
const CACHE_TIME = 5000
/** Milliseconds after a fruitless watch in which an unknown app is looked up, but not waited for. */
const MISSING_TIME = 1000

/**
 * The registry of the sidecars of one machine, a table in the shared data file. A sidecar that died without a word is
 * noticed at the next look: its process is asked for, and its row removed.
 */
export function createSqliteRegistry(options: SqliteRegistryOptions): Resolver {
  // Short: this database is used on the thread that serves requests.
  const database = openSqlite(options.path, { busyTimeout: 250 })
  const expiry = options.expiry ?? 15_000
  database.exec(`CREATE TABLE IF NOT EXISTS outrider_peers (
    id TEXT PRIMARY KEY, app_id TEXT NOT NULL, namespace TEXT NOT NULL, host TEXT NOT NULL, port INTEGER NOT NULL,
    pid INTEGER NOT NULL, machine TEXT NOT NULL, heartbeat INTEGER NOT NULL, expires INTEGER NOT NULL);
    CREATE INDEX IF NOT EXISTS outrider_peers_app ON outrider_peers (app_id, namespace)`)
  const find = database.prepare(
    'SELECT id, host, port, pid, machine, namespace FROM outrider_peers WHERE app_id = ? AND expires > ? ORDER BY id',
  )
  const remove = database.prepare('DELETE FROM outrider_peers WHERE id = ?')
  const replaceAddress = database.prepare('DELETE FROM outrider_peers WHERE (host = ? AND port = ?) OR expires < ?')
  const insert = database.prepare('INSERT INTO outrider_peers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)')
  const beat = database.prepare('UPDATE outrider_peers SET heartbeat = ?, expires = ? WHERE id = ?')
  const cache = new Map<string, { addresses: Address[]; until: number }>()
  const missing = new Map<string, number>()
  const open = new Set<() => void>()
  let closed = false

  const attempt = (work: () => void) => {
    try {
      work()
    } catch (error) {
      options.onError?.(error as Error)
    }
  }

  const look = (appId: string, namespace: string, key: string): Address[] => {
    const rows = find.all(appId, Date.now()) as unknown as Row[]
    const here: Address[] = []
    const elsewhere: Address[] = []
    for (const row of rows) {
      if (row.machine === MACHINE && !alive(row.pid)) attempt(() => remove.run(row.id))
      else (row.namespace === namespace ? here : elsewhere).push({ host: row.host, port: row.port })
    }
    // Outside Kubernetes Dapr finds apps whatever their namespace; one of the asked namespace comes first.
    const addresses = here.length > 0 ? here : elsewhere
    if (addresses.length > 0) {
      if (cache.size >= CACHE_LIMIT) cache.clear()
      cache.set(key, { addresses, until: Date.now() + CACHE_TIME })
    }
    return addresses
  }

  const watch = async (appId: string, namespace: string, key: string, signal?: AbortSignal): Promise<Address[]> => {
    const until = Date.now() + (options.watch ?? 80)
    while (!closed && Date.now() < until) {
      await delay(20, undefined, signal ? { signal } : {})
      const found = closed ? [] : look(appId, namespace, key)
      if (found.length > 0) return found
    }
    if (missing.size >= CACHE_LIMIT) missing.clear()
    missing.set(key, Date.now() + MISSING_TIME)
    return []
  }

  return {
    resolve(appId, namespace, signal) {
      const key = `${namespace}/${appId}`
      const known = cache.get(key)
      if (known && known.until > Date.now()) return known.addresses
      const found = look(appId, namespace, key)
      if (found.length > 0 || (missing.get(key) ?? 0) > Date.now()) return found
      return watch(appId, namespace, key, signal)
    },
    invalidate: (appId, namespace) => void cache.delete(`${namespace}/${appId}`),
    async register(registration: Registration) {
      const id = randomUUID()
      const write = () => {
        const now = Date.now()
        insert.run(
          id,
          registration.appId,
          registration.namespace,
          registration.host,
          registration.port,
          process.pid,
          MACHINE,
          now,
          now + expiry,
        )
      }
      for (let tries = 0; ; tries++) {
        try {
          replaceAddress.run(registration.host, registration.port, Date.now())
          write()
          break
        } catch (error) {
          if (tries >= 20 || !/locked|busy/i.test(String(error))) throw error
          await delay(50 + 50 * Math.random())
        }
      }
      const timer = setInterval(
        () =>
          attempt(() => {
            const now = Date.now()
            if (beat.run(now, now + expiry, id).changes === 0) write()
          }),
        options.heartbeat ?? 5000,
      ).unref()
      const leave = () => {
        if (!open.delete(leave)) return
        clearInterval(timer)
        attempt(() => remove.run(id))
      }
      open.add(leave)
      return {
        async [Symbol.asyncDispose]() {
          leave()
        },
      }
    },
    async [Symbol.asyncDispose]() {
      if (closed) return
      for (const leave of open) leave()
      closed = true
      database.close()
    },
  }
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}

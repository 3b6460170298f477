import { RedisConnection } from '../../../components/redis/connection.ts'
import { milliseconds } from '../../../resources/agent-schema.ts'
import { pause } from '../../../waiting.ts'
import { secretValue } from '../../secret-value.ts'
import { entriesOf, MOST_ENTRIES, type OpenSource } from '../source.ts'

/** Strings and hashes below a prefix, read every so often. */
export const openRedisSource: OpenSource = (spec, context) => {
  const { address = '127.0.0.1:6379', prefix = 'config:', database, username, password, tls } = spec.redis ?? {}
  const { separator = ':' } = spec
  const colon = address.lastIndexOf(':')
  const [host, port] = colon < 0 ? [address, 6379] : [address.slice(0, colon).replace(/^\[|\]$/g, ''), Number(address.slice(colon + 1))]
  let connection: RedisConnection | undefined

  const connected = async (signal: AbortSignal) => {
    if (connection) return connection
    const opened = new RedisConnection({
      host,
      port,
      name: 'outrider-config',
      username,
      password: password && (await secretValue(password, context, signal)),
      database,
      ...(tls && { tls: { servername: host } }),
    })
    await opened.connect(signal)
    connection = opened
    return opened
  }
  return {
    what: `Redis at ${host}:${port}`,
    async read(signal) {
      const redis = await connected(signal)
      const keys = new Set<string>()
      let cursor = '0'
      do {
        const [next, page] = (await redis.call('SCAN', cursor, 'MATCH', `${escaped(prefix)}*`, 'COUNT', 500)) as [string, string[]]
        for (const key of page) if (keys.size <= MOST_ENTRIES) keys.add(key)
        cursor = next
      } while (cursor !== '0')
      const sorted = [...keys].sort()
      const pairs: [string, string][] = []
      const texts = sorted.length > 0 ? ((await redis.call('MGET', ...sorted)) as (string | null)[]) : []
      for (const [at, key] of sorted.entries()) {
        const rest = key.slice(prefix.length)
        const text = texts[at]
        if (typeof text === 'string') pairs.push([rest, text])
        // MGET has nothing of what is no string.
        else if ((await redis.call('TYPE', key)) === 'hash') {
          const fields = (await redis.call('HGETALL', key)) as string[]
          for (let field = 0; field + 1 < fields.length; field += 2)
            pairs.push([`${rest}${separator}${fields[field]}`, fields[field + 1] as string])
        }
      }
      return entriesOf(pairs, { ...spec, separator })
    },
    wait: (signal) => pause(milliseconds(spec.interval, '5s'), signal),
    async [Symbol.asyncDispose]() {
      await connection?.close()
    },
  }
}

/** As SCAN takes a text for itself. */
function escaped(prefix: string): string {
  return prefix.replaceAll(/[\\*?[\]]/g, '\\$&')
}

import { milliseconds } from '../../../resources/agent-schema.ts'
import { HttpClient } from '../../../transport/http1/client.ts'
import { pause } from '../../../waiting.ts'
import { secretValue } from '../../secret-value.ts'
import { entriesOf, MOST_BYTES, type OpenSource } from '../source.ts'

/** Seconds that Consul keeps a question open while nothing changes; it adds up to a sixteenth. */
const WAIT = 60

/** Keys below a prefix of Consul's KV, by its HTTP API; changes are told by blocking queries. */
export const openConsul: OpenSource = (spec, context) => {
  const { address = 'http://127.0.0.1:8500', prefix = 'config', datacenter, token } = spec.consul ?? {}
  const client = new HttpClient({ connections: 1 })
  const base = prefix.replace(/^\/+|\/+$/g, '')
  const what = `Consul at ${new URL(address).host}`
  let index = 0

  return {
    what,
    async read(signal) {
      const url = new URL(`/v1/kv/${base === '' ? '' : `${base.split('/').map(encodeURIComponent).join('/')}/`}`, address)
      url.searchParams.set('recurse', 'true')
      if (datacenter !== undefined) url.searchParams.set('dc', datacenter)
      if (index > 0) {
        url.searchParams.set('index', String(index))
        url.searchParams.set('wait', `${WAIT}s`)
      }
      try {
        const reply = await client.request({
          method: 'GET',
          url,
          headers: token ? { 'x-consul-token': await secretValue(token, context, signal) } : {},
          signal: AbortSignal.any([signal, AbortSignal.timeout((index > 0 ? WAIT * 1.1 + 5 : 5) * 1000)]),
          limit: 2 * MOST_BYTES,
          tooLarge: () => new Error(`${what} has more than ${2 * MOST_BYTES} bytes below ${base}: name a longer prefix`),
        })
        // Nothing below the prefix is 404.
        if (reply.status !== 200 && reply.status !== 404)
          throw new Error(`${what} answers ${reply.status} ${reply.body.toString().slice(0, 200).trim()}`)
        const given = Number(reply.headers['x-consul-index'])
        // As Consul's documentation asks for: an index that goes back begins anew, and is never 0.
        const next = Number.isSafeInteger(given) && given >= index ? Math.max(1, given) : 0
        const rows = reply.status === 404 ? [] : (JSON.parse(reply.body.toString()) as { Key: string; Value: string | null }[])
        const entries = entriesOf(
          rows
            .filter(({ Value }) => Value !== null)
            .map(({ Key, Value }) => [Key.slice(base === '' ? 0 : base.length + 1), Buffer.from(Value as string, 'base64').toString()]),
          spec,
        )
        index = next
        return entries
      } catch (error) {
        index = 0
        throw error
      }
    },
    // Without an index nothing keeps the next question open; and keys that change without end are not read without end.
    wait: (signal) => pause(index === 0 ? milliseconds(spec.interval, '5s') : 100, signal),
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]()
    },
  }
}

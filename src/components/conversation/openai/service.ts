import { HttpClient } from '../../../transport/http1/client.ts'
import { readError } from './chat.ts'

export interface ServiceOptions {
  /** Where completions are asked for. */
  url: URL
  headers: Readonly<Record<string, string>>
  /** Never shown, whatever a service answers. */
  key: string
}

export interface Service extends AsyncDisposable {
  /** The parsed reply. Rejects with the service's own words when it refuses. */
  ask(body: string, signal: AbortSignal | undefined): Promise<unknown>
}

/** Calls under way at once; more wait. */
const CONNECTIONS = 64
/** How long a model may think: a Resiliency policy sets less. */
const PATIENCE = 10 * 60 * 1000
const REPLY_LIMIT = 32 * 1024 * 1024

/** One HTTP endpoint that takes and answers JSON. */
export function createService({ url, headers, key }: ServiceOptions): Service {
  const client = new HttpClient({ connections: CONNECTIONS, silenceTimeout: PATIENCE })
  return {
    async ask(body, signal) {
      const reply = await client.request({
        url,
        method: 'POST',
        headers: { ...headers, 'content-type': 'application/json', accept: 'application/json' },
        body,
        signal,
        limit: REPLY_LIMIT,
        tooLarge: () => new Error(`the API returned more than ${REPLY_LIMIT} bytes`),
      })
      const text = reply.body.toString()
      let parsed: unknown
      try {
        parsed = JSON.parse(text)
      } catch {
        parsed = undefined
      }
      if (reply.status !== 200) {
        const said = readError(parsed)
        throw new Error(`API returned unexpected status code: ${reply.status}${said ? `: ${hideKey(said, key)}` : ''}`)
      }
      if (parsed === undefined) throw new Error('the API returned a reply that is not JSON')
      return parsed
    },
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  }
}

/** Services repeat keys, whole or with stars in the middle. */
function hideKey(said: string, key: string): string {
  return (key === '' ? said : said.replaceAll(key, '***')).replaceAll(/[\w-]*\*{3,}[\w*-]*/g, '***').slice(0, 2000)
}

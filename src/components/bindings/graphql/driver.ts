import type { Binding, BindingRequest } from '../../../blocks/bindings/driver.ts'
import { messageOf } from '../../../errors.ts'
import { formatGoDuration } from '../../../go-duration.ts'
import { HttpClient, type WholeReply } from '../../../transport/http1/client.ts'
import type { DriverModule } from '../../component.ts'
import { MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'

const fields: readonly MetadataField[] = [
  {
    name: 'endpoint',
    kind: 'string',
    required: true,
    description: 'URL of the GraphQL server. Fields named `header:<name>` are sent as headers with each request.',
  },
]

const JSON_TYPE = 'application/json; charset=utf-8'
/** Bytes of one reply. */
const LIMIT = 64 << 20
/** Milliseconds without a byte. */
const SILENCE = 60_000
const PREFIX = 'GraphQL Error:'

/** bindings.graphql: `query` and `mutation`, each in the request metadata of its name, with `variable:<name>` and `header:<name>` beside. */
export const driver: DriverModule<Binding> = {
  summary: 'Asks a GraphQL server.',
  metadata: fields,
  create(context) {
    const endpoint = String(parseMetadata(fields, context.properties).endpoint)
    if (!URL.canParse(endpoint) || !/^https?:/.test(endpoint))
      throw new MetadataError(`metadata field endpoint: "${endpoint}" is not an http or https URL`)
    const url = new URL(endpoint)
    const own = withPrefix('header:', context.properties)
    const client = new HttpClient({ connections: 128, redirections: 10, silenceTimeout: SILENCE })

    const ask = async ({ operation, metadata }: BindingRequest, signal?: AbortSignal): Promise<unknown> => {
      const query = (metadata[operation] ?? '').trim()
      if (query === '') throw new Error(`${PREFIX} required "${operation}" not set`)
      if (!new RegExp(`^${operation}\\b`).test(query)) throw new Error(`${PREFIX} command is not a ${operation}`)
      const variables = withPrefix('variable:', metadata)
      const given = lowered({ ...own, ...withPrefix('header:', metadata) })
      // The length is the body's own; a caller's would break the framing.
      for (const name of ['content-length', 'transfer-encoding', 'connection', 'upgrade', 'keep-alive', 'expect']) delete given[name]
      let reply: WholeReply
      try {
        reply = await client.request({
          method: 'POST',
          url,
          headers: { 'content-type': JSON_TYPE, accept: JSON_TYPE, ...given },
          body: JSON.stringify({ query, variables: Object.keys(variables).length > 0 ? variables : null }),
          signal,
          limit: LIMIT,
          tooLarge: () => new Error(`the answer is larger than ${LIMIT} bytes`),
        })
      } catch (error) {
        throw new Error(`${PREFIX} no answer of ${url.host}: ${messageOf(error)}`, { cause: error })
      }
      return dataOf(reply)
    }

    return {
      operations: ['query', 'mutation'],
      async init() {},
      async invoke(request, signal) {
        const { operation } = request
        if (operation !== 'query' && operation !== 'mutation')
          throw new Error(`${PREFIX} invalid operation type: ${operation}. Expected query or mutation`)
        const start = new Date()
        const from = performance.now()
        const data = await ask(request, signal)
        return {
          data: Buffer.from(JSON.stringify(data)),
          metadata: {
            operation,
            'start-time': start.toISOString(),
            'end-time': new Date().toISOString(),
            duration: formatGoDuration(performance.now() - from),
          },
        }
      },
      [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
    }
  },
}

/** The data of an answer. Throws its first error, or its status when it is none of GraphQL. */
function dataOf({ status, body }: WholeReply): unknown {
  let answer: { data?: unknown; errors?: { message?: unknown }[] } | undefined
  try {
    answer = JSON.parse(body.toString()) as typeof answer
  } catch {
    if (status === 200) throw new Error(`${PREFIX} decoding response: it is not JSON`)
  }
  const first = Array.isArray(answer?.errors) ? answer.errors[0] : undefined
  if (first) throw new Error(`${PREFIX} graphql: ${first.message}`)
  if (typeof answer !== 'object' || answer === null || (status !== 200 && answer.data === undefined))
    throw new Error(`${PREFIX} graphql: server returned a non-200 status code: ${status}`)
  return answer.data ?? null
}

function withPrefix(prefix: string, values: Readonly<Record<string, string>>): Record<string, string> {
  const found = Object.entries(values).filter(([name]) => name.startsWith(prefix))
  return Object.fromEntries(found.map(([name, value]) => [name.slice(prefix.length), value]))
}

function lowered(headers: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
}

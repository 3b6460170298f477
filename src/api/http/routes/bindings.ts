import { type BindingsBlock, responseOf } from '../../../blocks/bindings/block.ts'
import type { BindingResponse } from '../../../blocks/bindings/driver.ts'
import { parseJson } from '../../../blocks/state/go-json.ts'
import { Code, messageOf, OutriderError } from '../../../errors.ts'
import { baggageProblem } from '../../../telemetry/tracing/baggage.ts'
import { errorReply } from '../reply.ts'
import { type Call, noContent, type Reply, type Route } from '../route.ts'

/** The route of output bindings. */
export function bindingsRoutes(block: BindingsBlock): Route[] {
  return [
    {
      methods: ['POST', 'PUT'],
      path: '/v1.0/bindings/:name',
      group: 'bindings',
      version: 'v1',
      name: 'InvokeBinding',
      async handler(call) {
        const request = readRequest((await call.body()).toString())
        Object.assign(request.metadata, traceMetadata(call))
        try {
          return replyOf(await block.invoke(call.params.name as string, request, call.signal))
        } catch (thrown) {
          const { code, http, grpc, message, hint } = OutriderError.from(thrown)
          const reply = errorReply(new OutriderError({ code, http, grpc, message, ...(hint !== undefined && { hint }) }))
          return { ...reply, headers: metadataHeaders(responseOf(thrown)) }
        }
      },
    },
  ]
}

function replyOf(response: BindingResponse | undefined): Reply {
  if (!response) return noContent
  return { status: 200, headers: metadataHeaders(response), body: response.data ?? Buffer.alloc(0) }
}

function metadataHeaders(response: BindingResponse | undefined): Record<string, string> {
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(response?.metadata ?? {})) {
    // A component's texts may hold what a header cannot.
    if (/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(name)) headers[`metadata.${name}`] = value.replace(/[^\t\x20-\x7e\x80-\xff]/g, ' ')
  }
  return headers
}

function readRequest(text: string): { operation: string; data: Buffer; metadata: Record<string, string> } {
  let body: unknown
  try {
    body = parseJson(text)
  } catch (error) {
    throw malformed(`failed deserializing HTTP body: ${messageOf(error)}`)
  }
  if (body !== null && (typeof body !== 'object' || Array.isArray(body)))
    throw malformed('failed deserializing HTTP body: json: an object is expected')
  const members = new Map(Object.entries(body ?? {}).map(([name, value]) => [name.toLowerCase(), value as unknown]))
  const operation = members.get('operation') ?? ''
  if (typeof operation !== 'string') throw malformed('failed deserializing HTTP body: json: operation must be a string')
  const metadata = members.get('metadata') ?? {}
  if (
    typeof metadata !== 'object' ||
    metadata === null ||
    Array.isArray(metadata) ||
    !Object.values(metadata).every((value) => typeof value === 'string')
  ) {
    throw malformed('failed deserializing HTTP body: json: metadata must be an object of strings')
  }
  return { operation, data: Buffer.from(remarshal(members.get('data') ?? null)), metadata: { ...(metadata as Record<string, string>) } }
}

/** JSON as Go writes it: members sorted, and the characters escaped that HTML gives a meaning. */
function remarshal(value: unknown): string {
  return JSON.stringify(sorted(value)).replace(/[<>&\u2028\u2029]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, member]) => [name, sorted(member)]),
  )
}

/** The trace of this call, for what the binding calls. */
function traceMetadata(call: Call): Record<string, string> {
  const metadata: Record<string, string> = {}
  const parent = call.response.getHeader('traceparent') ?? call.headers.traceparent
  if (typeof parent === 'string') metadata.traceparent = parent
  if (typeof call.headers.tracestate === 'string') metadata.tracestate = call.headers.tracestate
  const given = call.headers.baggage
  const baggage = Array.isArray(given) ? given.join(',') : given
  if (baggage) {
    const problem = baggageProblem(baggage)
    if (problem) throw malformed(`invalid baggage header: ${problem}`)
    metadata.baggage = baggage
  }
  return metadata
}

function malformed(message: string): OutriderError {
  return new OutriderError({
    code: 'ERR_MALFORMED_REQUEST',
    http: 400,
    grpc: Code.InvalidArgument,
    message,
    hint: 'send {"operation": "…", "data": …, "metadata": {…}}',
  })
}

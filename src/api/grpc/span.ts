import type { IncomingHttpHeaders } from 'node:http'
import { codeName } from '../../errors.ts'
import { toTraceBin } from '../../telemetry/trace-bin.ts'
import type { Span, SpanKind } from '../../telemetry/tracing/span.ts'
import { parseTraceparent } from '../../telemetry/tracing/span-context.ts'
import type { Tracer } from '../../telemetry/tracing/tracer.ts'
import { ProtoReader } from '../../transport/grpc/wire.ts'
import { DAPR } from './method.ts'
import { traceOf } from './trace.ts'

interface Called {
  readonly headers: IncomingHttpHeaders
  readonly rawHeaders: readonly string[]
}

/** Begins the span of one call; from here on whoever reads the call's metadata finds this span in them. */
export function startSpan(tracer: Tracer, path: string, call: Called, kind: SpanKind = 'client'): Span {
  const trace = traceOf(call)
  const span = tracer.start(path, kind, trace && parseTraceparent(trace.traceparent, trace.tracestate))
  const { traceparent } = span
  const binary = toTraceBin(traceparent) as string
  Object.assign(call.headers, { traceparent, 'grpc-trace-bin': binary })
  const raw = call.rawHeaders as string[]
  for (const [name, value] of [
    ['traceparent', traceparent],
    ['grpc-trace-bin', binary],
  ] as const) {
    const at = raw.findIndex((given, index) => index % 2 === 0 && given === name)
    if (at < 0) raw.push(name, value)
    else raw[at + 1] = value
  }
  return span
}

/** What the names of a request's first fields mean, for spans. */
const STORES: Readonly<Record<string, string>> = {
  GetState: 'state',
  GetBulkState: 'state',
  SaveState: 'state',
  DeleteState: 'state',
  DeleteBulkState: 'state',
  ExecuteStateTransaction: 'state',
  QueryStateAlpha1: 'state',
  GetSecret: 'secrets',
  GetBulkSecret: 'secrets',
  InvokeBinding: 'bindings',
}

/** Writes down what a unary call of the Dapr service is about: its store, binding or topic, by the first fields of its message. */
export function describeRequest(span: Span, path: string, message: Buffer): void {
  if (!span.sampled || !path.startsWith(DAPR)) return
  const name = path.slice(DAPR.length)
  const system = STORES[name]
  const { attributes } = span
  if (system) {
    attributes['db.system'] = system
    attributes['db.name'] = textField(message, 1)
    attributes['db.statement'] = path
    attributes['db.connection_string'] = system
    attributes['rpc.service'] = 'Dapr'
  } else if (name === 'PublishEvent' || name.startsWith('BulkPublishEvent')) {
    attributes['messaging.system'] = 'pubsub'
    attributes['messaging.destination.name'] = textField(message, 2)
    attributes['rpc.service'] = 'Dapr'
  } else if (name === 'ConverseAlpha1' || name === 'ConverseAlpha2') attributes['rpc.system'] = textField(message, 1)
}

/** Ends the span of a call; `message` of its error, undefined: none. */
export function endSpan(span: Span, path: string, headers: IncomingHttpHeaders, code: number, message: string | undefined): void {
  if (!span.sampled) return
  nameAttributes(span, headers)
  const { attributes } = span
  attributes['dapr.protocol'] = 'grpc'
  attributes['dapr.api'] = path
  span.end(code === 0 ? undefined : (message ?? codeName(code)))
}

/** What the caller wants its span to say: metadata whose names begin with `dapr-`. */
export function nameAttributes({ sampled, attributes }: Span, headers: IncomingHttpHeaders): void {
  if (!sampled) return
  for (const name in headers) {
    if (name.startsWith('dapr-') && !name.endsWith('-bin') && name !== 'dapr-api-token') attributes[name] = String(headers[name])
  }
}

/** The text of a message's field; empty when it is not there. */
function textField(message: Buffer, wanted: number): string {
  try {
    const reader = new ProtoReader(message)
    while (reader.next()) {
      if (reader.field === wanted) return reader.string()
      reader.skip()
    }
  } catch {}
  return ''
}

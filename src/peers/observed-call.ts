import type { ResponseSink } from '../app/response-sink.ts'
import type { RuntimeMetrics } from '../telemetry/runtime-metrics.ts'
import type { Span } from '../telemetry/tracing/span.ts'
import { parseTraceparent } from '../telemetry/tracing/span-context.ts'
import type { Tracer } from '../telemetry/tracing/tracer.ts'
import { headerOf } from './headers.ts'
import type { Invocation } from './invocation.ts'

/** Who hears of calls of other sidecars. */
export interface CallObserver {
  metrics: RuntimeMetrics
  /** Undefined: nobody traces. */
  tracer: Tracer | undefined
}

/** Counts a call of another sidecar, and gives it a span that the app sees as its parent. The reply goes through to `sink`. */
export function observedCall({ metrics, tracer }: CallObserver, appId: string, invocation: Invocation, sink: ResponseSink): ResponseSink {
  const { headers, method } = invocation
  const caller = headerOf(headers, 'dapr-caller-app-id')
  if (caller !== undefined) metrics.requestReceived(caller)
  let span: Span | undefined
  if (tracer) {
    span = tracer.start(
      `CallLocal/${appId}/${method}`,
      'server',
      parseTraceparent(headerOf(headers, 'traceparent'), headerOf(headers, 'tracestate')),
    )
    replace(headers, 'traceparent', span.traceparent)
    Object.assign(span.attributes, {
      'rpc.service': 'ServiceInvocation',
      'dapr.invoke_method': method,
      'dapr.protocol': 'grpc',
      'dapr.api': '/dapr.proto.internals.v1.ServiceInvocation/CallLocal',
    })
  }
  return new ObservedReply(sink, (status) => {
    if (caller !== undefined) metrics.responseSent(caller, status)
    // A status from 100 on is one of HTTP.
    const failed = status >= 100 ? status >= 400 : status !== 0
    span?.end(failed ? `Code(${status})` : undefined)
  })
}

class ObservedReply implements ResponseSink {
  readonly #sink: ResponseSink
  readonly #over: (status: number) => void
  #status = 0

  constructor(sink: ResponseSink, over: (status: number) => void) {
    this.#sink = sink
    this.#over = over
  }

  head(...given: Parameters<ResponseSink['head']>): void {
    this.#status = given[0]
    this.#sink.head(...given)
  }

  data(chunk: Buffer): void {
    this.#sink.data(chunk)
  }

  end(): void {
    this.#over(this.#status)
    this.#sink.end()
  }

  failed(error: Error): void {
    this.#over(this.#status)
    this.#sink.failed(error)
  }
}

function replace(headers: string[], name: string, value: string): void {
  for (let at = 0; at < headers.length; at += 2) {
    if (headers[at]?.toLowerCase() !== name) continue
    headers[at + 1] = value
    return
  }
  headers.push(name, value)
}

import type { IncomingHttpHeaders } from 'node:http'
import type { ResponseSink } from '../app/response-sink.ts'
import { messageOf } from '../errors.ts'
import type { RuntimeMetrics } from '../telemetry/runtime-metrics.ts'
import { fromTraceBin } from '../telemetry/trace-bin.ts'
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

/**
 * Counts a call of another sidecar, and gives it a span that the app sees as its parent. The reply goes through to `sink`.
 * `api` is the method that the other sidecar called.
 */
export function observedCall(
  { metrics, tracer }: CallObserver,
  appId: string,
  api: string,
  invocation: Invocation,
  sink: ResponseSink,
): ResponseSink {
  const { headers, method } = invocation
  const caller = headerOf(headers, 'dapr-caller-app-id')
  if (caller !== undefined) metrics.requestReceived(caller)
  let span: Span | undefined
  if (tracer) {
    span = tracer.start(
      `CallLocal/${appId}/${method}`,
      'server',
      parseTraceparent(invocation.calledBy ?? headerOf(headers, 'traceparent'), headerOf(headers, 'tracestate')),
    )
    replace(headers, 'traceparent', span.traceparent)
    Object.assign(span.attributes, {
      'rpc.service': 'ServiceInvocation',
      'dapr.invoke_method': method,
      'dapr.protocol': 'grpc',
      'dapr.api': api,
    })
  }
  return new ObservedReply(sink, (status, error) => {
    if (caller !== undefined) metrics.responseSent(caller, status)
    // Whatever status the app answers with: this call has brought it. The caller's span tells it.
    span?.end(error && messageOf(error))
  })
}

class ObservedReply implements ResponseSink {
  readonly #sink: ResponseSink
  readonly #over: (status: number, error: Error | undefined) => void
  #status = 0

  constructor(sink: ResponseSink, over: (status: number, error: Error | undefined) => void) {
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
    this.#over(this.#status, undefined)
    this.#sink.end()
  }

  failed(error: Error): void {
    this.#over(this.#status, error)
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

/** The span that the other sidecar called within: daprd tells it with the call, and in the message the one before it. */
export function callerSpan(headers: IncomingHttpHeaders): string | undefined {
  const { traceparent, 'grpc-trace-bin': binary } = headers
  return (typeof binary === 'string' ? fromTraceBin(binary) : undefined) ?? (typeof traceparent === 'string' ? traceparent : undefined)
}

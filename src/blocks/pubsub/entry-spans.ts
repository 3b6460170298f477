import { messageOf } from '../../errors.ts'
import type { Span } from '../../telemetry/tracing/span.ts'
import { parseTraceparent, type SpanContext } from '../../telemetry/tracing/span-context.ts'
import type { Tracer } from '../../telemetry/tracing/tracer.ts'
import type { Trace } from './cloud-event.ts'

/** The spans of a bulk's entries: each event has a place of its own in the trace, so that its deliveries can be told from the others'. */
export class EntrySpans {
  readonly #tracer: Tracer | undefined
  readonly #name: string
  readonly #trace: Trace | undefined
  readonly #parent: SpanContext | undefined
  readonly #spans: Span[] = []

  /** Without a tracer or a name there are none, and events carry the trace of their request. */
  constructor(tracer: Tracer | undefined, name: string | undefined, trace: Trace | undefined) {
    this.#tracer = name === undefined ? undefined : tracer
    this.#name = name ?? ''
    this.#trace = trace
    this.#parent = this.#tracer && parseTraceparent(trace?.traceparent, trace?.tracestate)
  }

  /** What the next event carries. */
  next(): Trace | undefined {
    const span = this.#tracer?.start(this.#name, 'producer', this.#parent)
    if (!span) return this.#trace
    this.#spans.push(span)
    return span
  }

  /** Ends them all; `problem` of the whole bulk, undefined: none. */
  end(problem: unknown): void {
    for (const span of this.#spans) span.end(problem === undefined ? undefined : messageOf(problem))
  }
}

import { randomFillSync } from 'node:crypto'
import { CurrentSpan } from './current-span.ts'
import { Span, type SpanKind } from './span.ts'
import type { SpanContext } from './span-context.ts'

/** Without a rate that can be read, one trace in ten thousand. */
const DEFAULT_RATE = 1e-4

/** Sends spans somewhere; what it throws is logged, the spans are lost then. */
export interface SpanExporter {
  export(spans: readonly Span[]): Promise<void>
  close(): Promise<void>
}

/** `samplingRate` of a Configuration as Dapr reads it. */
export function samplingRate(text: string | undefined): number {
  const rate = text === undefined || text.trim() === '' ? Number.NaN : Number(text)
  return Number.isNaN(rate) ? DEFAULT_RATE : rate
}

/** Begins spans: below a parent as the parent was decided on, else by the share of traces that are to be sampled. */
export class Tracer {
  /** The span that what runs now belongs to. */
  readonly current = new CurrentSpan()
  readonly #bound: number
  readonly #take: (span: Span) => void

  /** `rate` from 0 to 1. `take` gets each sampled span at its end. */
  constructor(rate: number, take: (span: Span) => void) {
    // By the trace's identifier, so that every sidecar decides alike: its last 13 digits as a share of their range.
    this.#bound = Math.min(1, Math.max(0, rate)) * 2 ** 52
    this.#take = take
  }

  start(name: string, kind: SpanKind, parent: SpanContext | undefined): Span {
    const ids = identifiers()
    const traceId = parent?.traceId ?? ids.slice(16)
    const flags = parent ? parent.flags & 1 : Number.parseInt(traceId.slice(-13), 16) < this.#bound ? 1 : 0
    return new Span(name, kind, { traceId, spanId: ids.slice(0, 16), flags, state: parent?.state ?? '' }, parent, this.#take)
  }
}

const pool = Buffer.allocUnsafe(24 * 64)
let used = pool.length

/** 8 and 16 random bytes in hexadecimal; drawn many at once, for each draw costs more than its bytes. */
function identifiers(): string {
  if (used === pool.length) {
    randomFillSync(pool)
    used = 0
  }
  used += 24
  return pool.toString('hex', used - 24, used)
}

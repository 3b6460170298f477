import { formatTraceparent, isSampled, type SpanContext } from './span-context.ts'

/** Who stands where: `client` asks, `server` is asked, `producer` sends without waiting. */
export type SpanKind = 'server' | 'client' | 'producer'

/** Something that happened within a step. */
export interface SpanNote {
  name: string
  /** Epoch milliseconds, with fractions. */
  at: number
  attributes: Readonly<Record<string, string>>
}

/** What happens more often within one step is counted. */
const MAX_NOTES = 32

/** One step of a trace. What is not sampled keeps its identifiers, for those who come after, and nothing else. */
export class Span {
  readonly context: SpanContext
  readonly parent: SpanContext | undefined
  readonly kind: SpanKind
  readonly sampled: boolean
  name: string
  /** Epoch milliseconds, with fractions. */
  readonly began: number
  ended = 0
  readonly attributes: Record<string, string> = {}
  /** What went wrong; undefined: nothing. */
  error: string | undefined
  /** In their order; undefined: none. */
  notes: SpanNote[] | undefined
  /** Those past the bound. */
  notesDropped = 0
  readonly #take: (span: Span) => void

  constructor(name: string, kind: SpanKind, context: SpanContext, parent: SpanContext | undefined, take: (span: Span) => void) {
    this.name = name
    this.kind = kind
    this.context = context
    this.parent = parent
    this.sampled = isSampled(context)
    this.began = this.sampled ? performance.timeOrigin + performance.now() : 0
    this.#take = take
  }

  get traceparent(): string {
    return formatTraceparent(this.context)
  }

  get tracestate(): string {
    return this.context.state
  }

  /** Notes what happens now; nothing for a span that is not sampled or over. */
  note(name: string, attributes: SpanNote['attributes']): void {
    if (!this.sampled || this.ended !== 0) return
    this.notes ??= []
    if (this.notes.length < MAX_NOTES) this.notes.push({ name, at: performance.timeOrigin + performance.now(), attributes })
    else this.notesDropped++
  }

  /** The end, once; later calls are nothing. */
  end(error?: string): void {
    if (!this.sampled || this.ended !== 0) return
    if (error !== undefined) this.error = error
    this.ended = performance.timeOrigin + performance.now()
    this.#take(this)
  }
}

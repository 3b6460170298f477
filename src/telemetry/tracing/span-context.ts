/** What travels of a trace: W3C's `traceparent` and `tracestate`, over gRPC also the binary `grpc-trace-bin`. */
export interface SpanContext {
  /** 32 hexadecimal digits, not all zero. */
  readonly traceId: string
  /** 16 hexadecimal digits, not all zero. */
  readonly spanId: string
  readonly flags: number
  /** As it came; empty: none. */
  readonly state: string
}

const SAMPLED = 1
const MAX_STATE = 512
const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/

/** The context of the headers; undefined when they hold none that is valid. Later versions may have more parts, `ff` is none. */
export function parseTraceparent(traceparent: string | undefined, state = ''): SpanContext | undefined {
  const found = traceparent === undefined ? null : TRACEPARENT.exec(traceparent)
  if (!found) return undefined
  const [, version, traceId = '', spanId = '', flags = '', more] = found
  if (version === 'ff' || (version === '00' && more !== undefined) || isZero(traceId) || isZero(spanId)) return undefined
  return { traceId, spanId, flags: Number.parseInt(flags, 16), state: state.length <= MAX_STATE ? state : '' }
}

export function formatTraceparent({ traceId, spanId, flags }: SpanContext): string {
  return `00-${traceId}-${spanId}-${flags < 16 ? '0' : ''}${flags.toString(16)}`
}

export function isSampled({ flags }: SpanContext): boolean {
  return (flags & SAMPLED) === SAMPLED
}

function isZero(hex: string): boolean {
  return /^0+$/.test(hex)
}

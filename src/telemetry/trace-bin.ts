/**
 * The binary trace context of gRPC (`grpc-trace-bin`, OpenCensus): version 0, then field 0 the trace id (16 bytes),
 * field 1 the span id (8 bytes), field 2 the options (1 byte). On the wire it is Base64 without padding.
 */
const LENGTH = 29

/** The header's value for a W3C traceparent, also for the one of all zeros; undefined for a malformed one. */
export function toTraceBin(traceparent: string): string | undefined {
  const found = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/.exec(traceparent)
  return found === null ? undefined : Buffer.from(`0000${found[1]}01${found[2]}02${found[3]}`, 'hex').toString('base64').replace(/=+$/, '')
}

/** The W3C traceparent that a header's value says; undefined when it says none. */
export function fromTraceBin(header: string): string | undefined {
  const bytes = Buffer.from(header, 'base64')
  if (bytes.length < LENGTH || bytes[0] !== 0 || bytes[1] !== 0 || bytes[18] !== 1 || bytes[27] !== 2) return undefined
  const hex = bytes.toString('hex', 0, LENGTH)
  const [trace, span, options] = [hex.slice(4, 36), hex.slice(38, 54), hex.slice(56, 58)]
  return /^0+$/.test(trace) || /^0+$/.test(span) ? undefined : `00-${trace}-${span}-${options}`
}

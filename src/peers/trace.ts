const TRACEPARENT = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})/

/** What an app sees when nobody traces, as with Dapr. */
export const NO_TRACE = '00-00000000000000000000000000000000-0000000000000000-00'

/** grpc-trace-bin, in Base64, of a traceparent; undefined when it is none. Version 0: trace id, span id and flags, each after its field number. */
export function traceToBinary(traceparent: string): string | undefined {
  const found = TRACEPARENT.exec(traceparent)
  return found ? Buffer.from(`0000${found[1]}01${found[2]}02${found[3]}`, 'hex').toString('base64') : undefined
}

/** The traceparent of a grpc-trace-bin in Base64; undefined when it is none. */
export function traceFromBinary(base64: string): string | undefined {
  const bytes = Buffer.from(base64, 'base64')
  if (bytes.length < 29 || bytes[0] !== 0 || bytes[1] !== 0 || bytes[18] !== 1 || bytes[27] !== 2) return undefined
  return `00-${bytes.toString('hex', 2, 18)}-${bytes.toString('hex', 19, 27)}-${bytes.toString('hex', 28, 29)}`
}

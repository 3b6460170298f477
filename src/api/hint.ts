import { encodeGrpcMessage } from '../transport/grpc/status.ts'

/**
 * Where replies carry the hint of an error: an HTTP header, trailing metadata over gRPC. Not in the body, for Dapr's SDK
 * for Java refuses members that it does not know.
 */
export const HINT = 'outrider-hint'

/** A hint for a header: percent-encoded as grpc-message is, at most 1,024 characters of it. */
export function encodeHint(hint: string): string {
  return encodeGrpcMessage(hint.slice(0, 1024))
}

import { Code } from '../errors.ts'
import { GrpcStatus } from '../transport/grpc/status.ts'

export function tooLarge(size: number, limit: number): GrpcStatus {
  return new GrpcStatus(Code.ResourceExhausted, `grpc: received message larger than max (${size} vs. ${limit})`)
}

/** The code of a reply by its trailers, names and values in turn. */
export function statusOf(trailers: readonly string[]): number {
  const at = trailers.indexOf('grpc-status')
  return at < 0 ? Code.Unknown : Number(trailers[at + 1])
}

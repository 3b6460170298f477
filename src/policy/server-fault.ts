/** Unknown, DeadlineExceeded, Internal, Unavailable, DataLoss. */
const GRPC: readonly number[] = [2, 4, 13, 14, 15]

/** Whether a status, of HTTP or of gRPC, is the fault of whoever was called. */
export function isServerFault(status: number): boolean {
  return status >= 500 || GRPC.includes(status)
}

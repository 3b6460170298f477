import type { Runner } from '../policy/runner.ts'
import type { RawStream } from '../transport/grpc/client.ts'
import type { GrpcStatus } from '../transport/grpc/status.ts'

export interface RelayOptions {
  /** Bytes of one message, either way. */
  limit: number
  /** Opens the stream to where the call goes; throws or rejects with GrpcStatus. Asked again after a call that surely did nothing there. */
  open(): RawStream | Promise<RawStream>
  /** Whether to open again after this failure; the relay has nothing lost by it. */
  again(status: GrpcStatus): boolean
  /** How hard to try; absent: a call that was taken is not tried again. */
  policy?: RelayPolicy | undefined
}

export interface RelayPolicy {
  runner: Runner
  /** Bytes of the request that may be kept, to be sent again. */
  replay: number
  /** The call lasts: only opening it is under the policy. */
  lasting: boolean
}

import { messageOf } from '../../errors.ts'
import { GrpcStatus, grpcToHttp } from '../../transport/grpc/status.ts'
import type { Runner } from './policy-hook.ts'

/**
 * A policy whose matching rules see the gRPC status that a broker's error carries: over gRPC its code, over HTTP the HTTP
 * status that says the same. Errors of other brokers carry none.
 */
export function codedRunner(policy: Runner, wire: 'http' | 'grpc'): Runner {
  return (operation, signal) =>
    policy(async (attempt) => {
      try {
        return await operation(attempt)
      } catch (error) {
        const status = statusIn(error)
        if (!status) throw error
        const coded = new Error(messageOf(error), { cause: error })
        throw Object.assign(coded, { status: wire === 'grpc' ? status.code : grpcToHttp(status.code) })
      }
    }, signal)
}

function statusIn(error: unknown): GrpcStatus | undefined {
  for (let at = error; at instanceof Error; at = at.cause) if (at instanceof GrpcStatus) return at
  return undefined
}

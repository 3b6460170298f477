import { message } from '../../transport/grpc/message.ts'
import { Empty } from './empty.ts'
import { daprUnary, type GrpcMethods } from './method.ts'

const ShutdownRequest = message('dapr.proto.runtime.v1.ShutdownRequest', {})

/** Shutdown; metadata `dapr-force-shutdown: true` skips the drain. */
export function shutdownMethods(shutdown: (force: boolean) => void): GrpcMethods {
  return [
    daprUnary('Shutdown', ShutdownRequest, Empty, (_, call) => {
      shutdown(String(call.headers['dapr-force-shutdown']).toLowerCase() === 'true')
      return {}
    }),
  ]
}

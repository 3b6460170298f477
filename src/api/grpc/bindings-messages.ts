import { bytes, map, message, string } from '../../transport/grpc/message.ts'

export const InvokeBindingRequest = message('dapr.proto.runtime.v1.InvokeBindingRequest', {
  name: string(1),
  data: bytes(2),
  metadata: map(3),
  operation: string(4),
})

export const InvokeBindingResponse = message('dapr.proto.runtime.v1.InvokeBindingResponse', { data: bytes(1), metadata: map(2) })

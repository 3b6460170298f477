import { bytes, map, message, nested, repeated, string } from '../../transport/grpc/message.ts'

const P = 'dapr.proto.components.v1'

export const ListOperationsResponse = message(`${P}.ListOperationsResponse`, { operations: repeated(string(1)) })
export const InvokeRequest = message(`${P}.InvokeRequest`, { data: bytes(1), metadata: map(2), operation: string(3) })
export const InvokeResponse = message(`${P}.InvokeResponse`, { data: bytes(1), metadata: map(2), contentType: string(3) })

const AckResponseError = message(`${P}.AckResponseError`, { message: string(1) })
export const ReadRequest = message(`${P}.ReadRequest`, {
  responseData: bytes(1),
  messageId: string(2),
  responseError: nested(3, AckResponseError),
})
export const ReadResponse = message(`${P}.ReadResponse`, { data: bytes(1), metadata: map(2), contentType: string(3), messageId: string(4) })

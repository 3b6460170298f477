import type { MessageType } from '../../transport/grpc/message.ts'
import { type GrpcCall, type GrpcMethod, unary } from '../../transport/grpc/server.ts'

/** Methods by path, as a group of them is put into the API. */
export type GrpcMethods = readonly (readonly [path: string, method: GrpcMethod])[]

/** The service that apps call. */
export const DAPR = '/dapr.proto.runtime.v1.Dapr/'

/** A unary method of the Dapr service whose messages are tables. @param name e.g. `GetSecret` */
export function daprUnary<Request, RequestInput, Response, ResponseInput>(
  name: string,
  request: MessageType<Request, RequestInput>,
  response: MessageType<Response, ResponseInput>,
  handle: (request: Request, call: GrpcCall) => ResponseInput | Promise<ResponseInput>,
): readonly [string, GrpcMethod] {
  return [`${DAPR}${name}`, { ...unary(request.decode, response.encode, handle), types: { request, response } }]
}

import { Code } from '../../errors.ts'
import type { GrpcClient } from '../../transport/grpc/client.ts'
import { frame } from '../../transport/grpc/frames.ts'
import { int32, message, nested, optional, repeated, string } from '../../transport/grpc/message.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'

/** gRPC server reflection, as far as it lists services; v1alpha and v1 differ in the package only. */
export const Request = message('grpc.reflection.v1alpha.ServerReflectionRequest', { listServices: optional(string(7)) })
const Service = message('grpc.reflection.v1alpha.ServiceResponse', { name: string(1) })
const List = message('grpc.reflection.v1alpha.ListServiceResponse', { service: repeated(nested(1, Service)) })
const Failure = message('grpc.reflection.v1alpha.ErrorResponse', { errorCode: int32(1), errorMessage: string(2) })
export const Response = message('grpc.reflection.v1alpha.ServerReflectionResponse', {
  listServicesResponse: nested(6, List),
  errorResponse: nested(7, Failure),
})

/** Full names of the services behind an address. Rejects with GrpcStatus. */
export async function listServices(client: GrpcClient, address: string, signal: AbortSignal): Promise<string[]> {
  try {
    return await ask(client, address, 'grpc.reflection.v1alpha', signal)
  } catch (error) {
    // Servers that left the alpha behind.
    if (error instanceof GrpcStatus && error.code === Code.Unimplemented) return ask(client, address, 'grpc.reflection.v1', signal)
    throw error
  }
}

function ask(client: GrpcClient, address: string, version: string, signal: AbortSignal): Promise<string[]> {
  return new Promise((resolve, reject) => {
    let names: string[] | undefined
    const stream = client.stream(
      address,
      `/${version}.ServerReflection/ServerReflectionInfo`,
      { signal },
      {
        onMessage(bytes) {
          try {
            const { listServicesResponse, errorResponse } = Response.decode(bytes)
            if (errorResponse) reject(new GrpcStatus(Code.Unknown, `reflection failed: ${errorResponse.errorMessage}`))
            else names = listServicesResponse?.service.map((service) => service.name) ?? []
          } catch (error) {
            reject(error)
          }
        },
        onClose(status) {
          if (names) resolve(names)
          else reject(status ?? new GrpcStatus(Code.Internal, 'the server ended reflection without an answer'))
        },
      },
    )
    stream.end(frame(Request.encode({ listServices: '*' })))
  })
}

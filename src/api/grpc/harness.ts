import { createGrpcClient, type GrpcClient } from '../../transport/grpc/client.ts'
import { createGrpcApi, type GrpcApiOptions } from './api.ts'
import { DAPR } from './method.ts'

export interface GrpcHarness extends AsyncDisposable {
  readonly address: string
  readonly client: GrpcClient
  /** Calls a method of the Dapr service, e.g. `GetState`. Rejects with GrpcStatus. */
  call(method: string, message: Buffer, headers?: Record<string, string>): Promise<Buffer>
}

/** For tests: the gRPC API with these methods on a real socket, and a client. */
export async function serveGrpc(options: GrpcApiOptions): Promise<GrpcHarness> {
  const api = createGrpcApi(options)
  const address = `127.0.0.1:${await api.listen({ host: '127.0.0.1', port: 0 })}`
  const client = createGrpcClient()
  return {
    address,
    client,
    call: (method, message, headers = {}) => client.unary(address, DAPR + method, message, { headers }),
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]()
      await api.close(0)
    },
  }
}

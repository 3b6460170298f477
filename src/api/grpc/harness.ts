import assert from 'node:assert/strict'
import { createGrpcClient, type GrpcClient } from '../../transport/grpc/client.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
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

/** For tests: a block that has these methods, and fails the test when another one is called. */
export function stub<T extends object>(given: Partial<T>): T {
  return new Proxy(given, {
    get: (target, name) => Reflect.get(target, name) ?? (() => assert.fail(`${String(name)} is not meant here`)),
  }) as T
}

/** For tests: how a call fails. */
export async function statusOf(call: Promise<unknown>): Promise<GrpcStatus> {
  try {
    await call
  } catch (error) {
    assert.ok(error instanceof GrpcStatus, String(error))
    return error
  }
  assert.fail('the call must fail')
}

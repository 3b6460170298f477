import assert from 'node:assert/strict'
import { test } from 'node:test'
import { frame } from '../../transport/grpc/frames.ts'
import { knownMessages } from '../../transport/grpc/message.ts'
import type { GrpcStatus } from '../../transport/grpc/status.ts'
import { ProtoReader } from '../../transport/grpc/wire.ts'
import { type GrpcHarness, serveGrpc, stub } from './harness.ts'
import { healthMethods } from './health.ts'
import { metadataMethods } from './metadata.ts'
import { DAPR, type GrpcMethods } from './method.ts'
import { reflectionMethods } from './reflection.ts'
import { stateMethods } from './state.ts'

// Checked by hand with grpcurl 1.9 too: list, describe of every service and message, calls by JSON.

const METHODS: GrpcMethods = [...stateMethods(stub({})), ...metadataMethods(stub({})), ...healthMethods({ notReady: () => [] })]

/** Sends questions one after the other and collects the answers. */
function converse(
  api: GrpcHarness,
  path: string,
  questions: readonly Buffer[],
): Promise<{ answers: Buffer[]; status: GrpcStatus | undefined }> {
  return new Promise((resolve) => {
    const answers: Buffer[] = []
    const stream = api.client.stream(
      api.address,
      path,
      {},
      {
        onMessage: (message) => void answers.push(Buffer.from(message)),
        onClose: (status) => resolve({ answers, status }),
      },
    )
    for (const question of questions) stream.write(frame(question))
    stream.end()
  })
}

/** The fields of a protobuf message, numbers and bytes as they come. */
function fields(bytes: Buffer): [number, Buffer | number][] {
  const reader = new ProtoReader(bytes)
  const out: [number, Buffer | number][] = []
  while (reader.next()) out.push([reader.field, reader.type === 2 ? reader.bytes() : reader.uint()])
  return out
}

const all = (bytes: Buffer, field: number) =>
  fields(bytes).flatMap(([number, value]) => (number === field && typeof value !== 'number' ? [value] : []))
const text = (bytes: Buffer, field: number) => all(bytes, field)[0]?.toString()

for (const version of ['v1', 'v1alpha']) {
  const path = `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`
  const ask = (question: Record<string, unknown>) =>
    (knownMessages().get(`grpc.reflection.${version}.ServerReflectionRequest`) as { encode(value: unknown): Buffer }).encode(question)

  test(`reflection ${version}: services, files by symbol and by name with all they need, and what is not known`, async () => {
    await using api = await serveGrpc({ methods: [...METHODS, ...reflectionMethods(METHODS)] })
    const { answers, status } = await converse(api, path, [
      ask({ listServices: '*' }),
      ask({ fileContainingSymbol: 'dapr.proto.runtime.v1.Dapr.GetState' }),
      ask({ fileByFilename: 'dapr/proto/common/v1/common.proto' }),
      ask({ fileContainingSymbol: 'dapr.proto.common.v1.StateOptions.StateConsistency' }),
      ask({ fileContainingSymbol: 'no.such.Symbol' }),
    ])
    assert.equal(status, undefined)
    assert.equal(answers.length, 5)
    const [listed, bySymbol, byName, nested, unknown] = answers as [Buffer, Buffer, Buffer, Buffer, Buffer]
    assert.deepEqual(
      all(all(listed, 6)[0] as Buffer, 1).map((service) => text(service, 1)),
      [
        'dapr.proto.runtime.v1.Dapr',
        'grpc.health.v1.Health',
        'grpc.reflection.v1.ServerReflection',
        'grpc.reflection.v1alpha.ServerReflection',
      ],
    )
    const files = all(all(bySymbol, 4)[0] as Buffer, 1)
    assert.deepEqual(
      files.map((file) => text(file, 1)),
      ['dapr/proto/runtime/v1/dapr.proto', 'dapr/proto/common/v1/common.proto', 'google/protobuf/empty.proto'],
    )
    const [dapr] = files as [Buffer]
    assert.equal(text(dapr, 12), 'proto3')
    const service = all(dapr, 6)[0] as Buffer
    const getState = all(service, 2).find((method) => text(method, 1) === 'GetState') as Buffer
    assert.equal(text(getState, 2), '.dapr.proto.runtime.v1.GetStateRequest')
    assert.equal(text(getState, 3), '.dapr.proto.runtime.v1.GetStateResponse')
    const request = all(dapr, 4).find((message) => text(message, 1) === 'GetStateRequest') as Buffer
    assert.deepEqual(
      all(request, 2).map((field) => text(field, 1)),
      ['store_name', 'key', 'consistency', 'metadata'],
    )
    for (const answer of [byName, nested])
      assert.equal(text(all(all(answer, 4)[0] as Buffer, 1)[0] as Buffer, 1), 'dapr/proto/common/v1/common.proto')
    assert.equal(fields(all(unknown, 7)[0] as Buffer).find(([number]) => number === 1)?.[1], 5)
  })
}

test('health: Check knows the server and its services, and needs no token', async () => {
  let waiting = ['component']
  const methods = healthMethods({ notReady: () => waiting })
  await using api = await serveGrpc({ methods, apiToken: 'secret' })
  const check = (service: string) => {
    const name = Buffer.from(service)
    return api.client.unary(api.address, '/grpc.health.v1.Health/Check', Buffer.concat([Buffer.from([10, name.length]), name]))
  }
  assert.deepEqual([...(await check(''))], [8, 2])
  waiting = []
  assert.deepEqual([...(await check(''))], [8, 1])
  assert.deepEqual([...(await check(DAPR.slice(1, -1)))], [8, 1])
  await assert.rejects(check('other'), { code: 5, message: 'unknown service' })
})

test('health: Watch tells every change, and that the server is leaving', async () => {
  const waiting = ['component']
  const methods = new Map(healthMethods({ notReady: () => waiting }))
  const { createGrpcServer } = await import('../../transport/grpc/server.ts')
  const { createGrpcClient } = await import('../../transport/grpc/client.ts')
  const server = createGrpcServer({ methods })
  const address = `127.0.0.1:${await server.listen({ host: '127.0.0.1', port: 0 })}`
  await using client = createGrpcClient()
  const seen: number[] = []
  const heard = [Promise.withResolvers<void>(), Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const closed = new Promise<GrpcStatus | undefined>((resolve) => {
    const stream = client.stream(
      address,
      '/grpc.health.v1.Health/Watch',
      {},
      {
        onMessage(message) {
          seen.push(message[1] as number)
          heard[seen.length - 1]?.resolve()
        },
        onClose: resolve,
      },
    )
    stream.end(frame(Buffer.alloc(0)))
  })
  await heard[0]?.promise
  waiting.length = 0
  await heard[1]?.promise
  await Promise.all([server.close(5000), heard[2]?.promise])
  assert.deepEqual(seen, [2, 1, 2])
  assert.equal((await closed)?.code, 14)
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Code } from '../errors.ts'
import { createGrpcServer } from '../transport/grpc/server.ts'
import { GrpcStatus } from '../transport/grpc/status.ts'
import { ProtoReader } from '../transport/grpc/wire.ts'
import { createGrpcChannel } from './grpc-channel.ts'
import { sendJobEvent } from './job-event.ts'

const JOB = { name: 'tidy', data: { typeUrl: 'type.googleapis.com/google.protobuf.StringValue', value: Buffer.from('\x0a\x02up') } }

/** The fields of a message by number: numbers, or bytes as text. */
function fields(bytes: Buffer): Record<number, string | number> {
  const reader = new ProtoReader(bytes)
  const out: Record<number, string | number> = {}
  while (reader.next()) out[reader.field] = reader.type === 2 ? reader.bytes().toString('latin1') : reader.uint()
  return out
}

/** Says a job to an app that serves one method; what that heard. */
async function said(path: string, answer: () => Buffer = () => Buffer.alloc(0)) {
  const heard: { headers: unknown; body: Buffer }[] = []
  const server = createGrpcServer({
    methods: new Map([
      [
        path,
        {
          kind: 'unary',
          handle(body, call) {
            heard.push({ headers: call.headers['dapr-api-token'], body: Buffer.from(body) })
            return answer()
          },
        },
      ],
    ]),
  })
  try {
    await using channel = createGrpcChannel({ port: await server.listen({ host: '127.0.0.1', port: 0 }), token: 'of the app' })
    await sendJobEvent(channel, JOB)
  } finally {
    await server.close(0)
  }
  return heard
}

for (const path of ['AppCallback/OnJobEvent', 'AppCallbackAlpha/OnJobEventAlpha1']) {
  test(`a job that is due comes to ${path}, as POST job/<name> with what was scheduled and the token of the app`, async () => {
    const [first, ...more] = await said(`/dapr.proto.runtime.v1.${path}`)
    assert.equal(more.length, 0)
    assert.equal(first?.headers, 'of the app')
    const { 1: name, 2: data, 3: method, 4: contentType, 5: extension } = fields(first?.body as Buffer)
    assert.deepEqual([name, method, contentType], ['tidy', 'job/tidy', JOB.data.typeUrl])
    assert.deepEqual(fields(Buffer.from(data as string, 'latin1')), { 1: JOB.data.typeUrl, 2: '\x0a\x02up' })
    assert.deepEqual(fields(Buffer.from(extension as string, 'latin1')), { 1: 3 })
  })
}

test('an app that takes no jobs, and one that fails, reject with their status', async () => {
  await assert.rejects(said('/own.Service/Method'), { code: Code.Unimplemented })
  const failing = () => {
    throw new GrpcStatus(Code.Aborted, 'not now')
  }
  await assert.rejects(said('/dapr.proto.runtime.v1.AppCallback/OnJobEvent', failing), { code: Code.Aborted, message: 'not now' })
})

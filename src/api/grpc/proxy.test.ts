import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { type ClientHttp2Stream, connect, constants, type IncomingHttpHeaders } from 'node:http2'
import { test } from 'node:test'
import { Code } from '../../errors.ts'
import type { Address } from '../../peers/resolver.ts'
import { createGrpcClient, type GrpcCallOptions } from '../../transport/grpc/client.ts'
import { FrameReader, frame } from '../../transport/grpc/frames.ts'
import type { GrpcMethod, GrpcStream } from '../../transport/grpc/server.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
import { grpcApp, httpApp, startSidecar } from './invoke-harness.ts'

const DETAIL = { typeUrl: 'type.googleapis.com/test.Thing', value: Buffer.from([8, 1]) }
const values = (raw: readonly string[], name: string) => raw.filter((_, i) => i % 2 === 1 && raw[i - 1] === name)
const stream = (handle: (call: GrpcStream) => void): GrpcMethod => ({ kind: 'stream', handle })

/** An app that the sidecars know nothing of; `seen` is the metadata of its last call. */
function shop() {
  const seen: { raw: readonly string[]; headers: IncomingHttpHeaders } = { raw: [], headers: {} }
  const note = (call: GrpcStream) => {
    seen.raw = call.rawHeaders
    seen.headers = call.headers
  }
  const methods: Record<string, GrpcMethod> = {
    '/test.Shop/Unary': stream((call) => {
      note(call)
      call.addHeader('x-app', 'one')
      call.addHeader('x-app', 'two')
      call.setTrailer('x-last', ['three', 'four'])
      call.onMessage = (message) => void call.write(frame(Buffer.concat([Buffer.from('got '), message])))
      call.onEnd = () => call.end()
    }),
    '/test.Shop/Fail': stream((call) => {
      call.setTrailer('x-last', 'failed')
      call.onEnd = () => call.fail(new GrpcStatus(Code.FailedPrecondition, 'ä 100 %', { details: [DETAIL] }))
      call.onMessage = () => {}
    }),
    '/test.Shop/FailLate': stream((call) => {
      call.onMessage = (message) => void call.write(frame(message))
      call.onEnd = () => call.fail(new GrpcStatus(Code.Aborted, 'late', { details: [DETAIL] }))
    }),
    '/test.Shop/Collect': stream((call) => {
      const all: string[] = []
      call.onMessage = (message) => void all.push(message.toString())
      call.onEnd = () => call.end(frame(Buffer.from(all.join())))
    }),
    '/test.Shop/List': stream((call) => {
      call.onMessage = () => {}
      call.onEnd = () => {
        for (let i = 0; i < 5; i++) call.write(frame(Buffer.from(String(i))))
        call.end()
      }
    }),
    '/test.Shop/Chat': stream((call) => {
      call.onMessage = (message) => {
        if (!call.write(frame(message))) call.pause()
      }
      call.onDrain = () => call.resume()
      call.onEnd = () => call.end()
    }),
    '/test.Shop/Hang': stream((call) => {
      hanging.resolve()
      call.onMessage = () => {}
      call.onClose = () => left.resolve()
    }),
  }
  let hanging = Promise.withResolvers<void>()
  let left = Promise.withResolvers<void>()
  return {
    methods,
    seen,
    get hanging() {
      return hanging.promise
    },
    get left() {
      return left.promise
    },
    again() {
      hanging = Promise.withResolvers()
      left = Promise.withResolvers()
    },
  }
}

interface Reply {
  messages: string[]
  status: GrpcStatus | undefined
  headers: readonly string[]
  trailers: readonly string[]
}

async function call(address: string, path: string, messages: readonly string[], options: GrpcCallOptions = {}): Promise<Reply> {
  const client = createGrpcClient({ maxMessageSize: 64 << 20 })
  const reply = await new Promise<Reply>((resolve) => {
    const got: Reply = { messages: [], status: undefined, headers: [], trailers: [] }
    const out = client.stream(
      address,
      path,
      { ...options, headers: { 'dapr-app-id': 'callee', ...options.headers } },
      {
        onHeaders: (_, raw) => {
          got.headers = raw
        },
        onMessage: (message) => void got.messages.push(message.toString()),
        onClose: (status, _, raw = []) => resolve({ ...got, status, trailers: raw }),
      },
    )
    for (const message of messages) out.write(frame(Buffer.from(message)))
    out.end()
  })
  await client[Symbol.asyncDispose]()
  return reply
}

async function pair(limit?: number, apiToken?: string) {
  const own = shop()
  const addresses = new Map<string, Address[]>()
  const app = await grpcApp(own.methods)
  const common = { addresses, ...(limit ? { limit } : {}), ...(apiToken ? { apiToken } : {}) }
  const callee = await startSidecar({ ...common, appId: 'callee', app: app.app })
  const caller = await startSidecar({ ...common, appId: 'caller' })
  return {
    shop: own,
    app,
    caller,
    callee,
    addresses,
    async [Symbol.asyncDispose]() {
      await Promise.all([caller[Symbol.asyncDispose](), callee[Symbol.asyncDispose]()])
      await app[Symbol.asyncDispose]()
    },
  }
}

for (const way of ['caller', 'callee'] as const) {
  const how = way === 'caller' ? 'through two sidecars' : 'to the own app'

  test(`${how}: all four kinds of call`, async () => {
    await using both = await pair()
    const { grpc } = both[way]
    assert.deepEqual((await call(grpc, '/test.Shop/Unary', ['a'])).messages, ['got a'])
    assert.deepEqual((await call(grpc, '/test.Shop/Collect', ['a', '', 'b'])).messages, ['a,,b'])
    assert.deepEqual((await call(grpc, '/test.Shop/List', ['x'])).messages, ['0', '1', '2', '3', '4'])
    assert.deepEqual((await call(grpc, '/test.Shop/Chat', ['a', 'b', 'c'])).messages, ['a', 'b', 'c'])
    assert.deepEqual((await call(grpc, '/test.Shop/Collect', [])).messages, [''])
  })

  test(`${how}: each message of a conversation arrives before the next is sent`, async () => {
    await using both = await pair()
    const client = createGrpcClient()
    const said: string[] = []
    await new Promise<void>((resolve, reject) => {
      const out = client.stream(
        both[way].grpc,
        '/test.Shop/Chat',
        { headers: { 'dapr-app-id': 'callee' } },
        {
          onMessage(message) {
            said.push(message.toString())
            if (said.length === 10) out.end()
            else out.write(frame(Buffer.from(String(said.length))))
          },
          onClose: (status) => (status ? reject(status) : resolve()),
        },
      )
      out.write(frame(Buffer.from('0')))
    })
    assert.deepEqual(said, ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
    await client[Symbol.asyncDispose]()
  })

  test(`${how}: metadata passes both ways, secrets and forged names do not`, async () => {
    await using both = await pair()
    const reply = await call(both[way].grpc, '/test.Shop/Unary', ['a'], {
      headers: { 'x-own': ['v', 'w'], 'own-bin': 'AQI', 'dapr-api-token': 'secret', 'dapr-caller-app-id': 'forged', traceparent: 't' },
    })
    assert.equal(reply.status, undefined)
    assert.deepEqual(values(reply.headers, 'x-app'), ['one', 'two'])
    assert.deepEqual(values(reply.trailers, 'x-last'), ['three', 'four'])
    const { raw } = both.shop.seen
    assert.deepEqual(values(raw, 'x-own'), ['v', 'w'])
    assert.deepEqual([values(raw, 'own-bin'), values(raw, 'traceparent')], [['AQI'], ['t']])
    assert.deepEqual(values(raw, 'dapr-api-token'), ['app-token'])
    assert.deepEqual(values(raw, 'dapr-app-id'), [])
    assert.deepEqual(values(raw, 'dapr-caller-app-id'), way === 'caller' ? ['caller'] : [])
    assert.deepEqual(values(raw, 'dapr-callee-app-id'), way === 'caller' ? ['callee'] : [])
  })

  test(`${how}: a status passes unchanged, before the first message and after it`, async () => {
    await using both = await pair()
    const early = await call(both[way].grpc, '/test.Shop/Fail', ['a'])
    assert.deepEqual([early.status?.code, early.status?.message, early.status?.details], [Code.FailedPrecondition, 'ä 100 %', [DETAIL]])
    assert.deepEqual(values(early.trailers, 'x-last'), ['failed'])
    const late = await call(both[way].grpc, '/test.Shop/FailLate', ['a', 'b'])
    assert.deepEqual([late.messages, late.status?.code, late.status?.details], [['a', 'b'], Code.Aborted, [DETAIL]])
    assert.equal((await call(both[way].grpc, '/test.Shop/Nothing', ['a'])).status?.code, Code.Unimplemented)
  })

  test(`${how}: a cancelled call and a passed deadline end the app's call`, async () => {
    await using both = await pair()
    const client = createGrpcClient()
    const hang = client.stream(
      both[way].grpc,
      '/test.Shop/Hang',
      { headers: { 'dapr-app-id': 'callee' } },
      { onMessage() {}, onClose() {} },
    )
    hang.write(frame(Buffer.from('a')))
    await both.shop.hanging
    hang.cancel()
    await both.shop.left
    await client[Symbol.asyncDispose]()
    both.shop.again()
    const late = await call(both[way].grpc, '/test.Shop/Hang', ['a'], { timeout: 100 })
    assert.equal(late.status?.code, Code.DeadlineExceeded)
    await both.shop.left
  })

  test(`${how}: 30 MiB come back byte for byte, and no more than the windows hold is inside at once`, async () => {
    await using both = await pair(8 << 20)
    const client = createGrpcClient({ maxMessageSize: 8 << 20 })
    const sent = createHash('sha256')
    const got = createHash('sha256')
    const total = 30
    let out = 0
    let back = 0
    let most = 0
    await new Promise<void>((resolve, reject) => {
      const more = () => {
        while (out < total) {
          const message = Buffer.alloc(1 << 20, out)
          sent.update(message)
          out++
          if (!chat.write(frame(message))) return
        }
        if (out === total) {
          out++
          chat.end()
        }
      }
      const chat = client.stream(
        both[way].grpc,
        '/test.Shop/Chat',
        { headers: { 'dapr-app-id': 'callee' } },
        {
          onMessage(message) {
            got.update(message)
            back++
            most = Math.max(most, Math.min(out, total) - back)
          },
          onClose: (status) => (status ? reject(status) : resolve()),
          onDrain: more,
        },
      )
      more()
    })
    assert.equal(back, total)
    assert.equal(got.digest('hex'), sent.digest('hex'))
    assert.ok(most < 25, `${most} MiB were inside at once`)
    await client[Symbol.asyncDispose]()
  })

  test(`${how}: a message past the limit is ResourceExhausted`, async () => {
    await using both = await pair(100_000)
    const reply = await call(both[way].grpc, '/test.Shop/Chat', ['small', 'x'.repeat(100_001)])
    assert.deepEqual(
      [reply.status?.code, reply.status?.message],
      [Code.ResourceExhausted, 'grpc: received message larger than max (100001 vs. 100000)'],
    )
    assert.deepEqual((await call(both[way].grpc, '/test.Shop/Unary', ['x'.repeat(99_000)])).messages[0]?.length, 99_004)
  })

  test(`${how}: an app that is down is Unavailable, and found again once it is back`, async () => {
    await using both = await pair()
    const { grpc } = both[way]
    assert.equal((await call(grpc, '/test.Shop/Unary', ['a'])).status, undefined)
    await both.app.stop()
    assert.equal((await call(grpc, '/test.Shop/Unary', ['a'])).status?.code, Code.Unavailable)
    await both.app.start()
    assert.equal((await call(grpc, '/test.Shop/Unary', ['a'])).status, undefined)
  })
}

test('a slow reader slows the app down instead of filling the sidecars', async () => {
  let written = 0
  const chunk = frame(Buffer.alloc(65_536))
  const addresses = new Map<string, Address[]>()
  const full = Promise.withResolvers<void>()
  await using app = await grpcApp({
    '/test.Shop/Flood': stream((call) => {
      const more = () => {
        while (written < 2000) {
          written++
          if (!call.write(chunk)) return void setImmediate(() => full.resolve())
        }
        call.end()
      }
      call.onMessage = () => {}
      call.onEnd = more
      call.onDrain = more
    }),
  })
  await using callee = await startSidecar({ appId: 'callee', app: app.app, addresses })
  await using caller = await startSidecar({ appId: 'caller', addresses })
  assert.ok(callee.internal.port > 0)
  const client = createGrpcClient()
  let got = 0
  const done = new Promise<GrpcStatus | undefined>((resolve) => {
    const flood = client.stream(
      caller.grpc,
      '/test.Shop/Flood',
      { headers: { 'dapr-app-id': 'callee' } },
      {
        onMessage() {
          got++
          if (got === 1) {
            flood.pause()
            // The app stands still when every buffer on the way is full; then we go on reading.
            const wait = (before: number) =>
              setTimeout(() => {
                if (written !== before) return wait(written)
                assert.ok(written < 600, `${written} of 2000 messages went in while nobody read`)
                flood.resume()
              }, 50)
            wait(-1)
          }
        },
        onClose: resolve,
      },
    )
    flood.end()
  })
  await full.promise
  assert.equal(await done, undefined)
  assert.equal(got, 2000)
  await client[Symbol.asyncDispose]()
})

test('compressed messages and what else the two ends agree on pass as they are', async () => {
  const addresses = new Map<string, Address[]>()
  const raw = Buffer.from([1, 0, 0, 0, 2, 7, 8])
  await using app = await grpcApp({
    '/test.Shop/Zip': {
      kind: 'raw',
      handle(call, headers) {
        assert.equal(headers['grpc-encoding'], 'zip')
        call.respond([':status', '200', 'content-type', 'application/grpc+thing', 'grpc-encoding', 'zip'])
        call.sink = {
          data: (chunk) => void call.write(chunk),
          requestEnd: () => call.end(undefined, ['grpc-status', '42', 'grpc-message', 'own']),
          streamClosed() {},
          drained() {},
        }
      },
    },
  })
  await using callee = await startSidecar({ appId: 'callee', app: app.app, addresses })
  await using caller = await startSidecar({ appId: 'caller', addresses })
  assert.ok(callee)
  const session = connect(`http://${caller.grpc}`)
  const call: ClientHttp2Stream = session.request({
    ':method': 'POST',
    ':path': '/test.Shop/Zip',
    'content-type': 'application/grpc+thing',
    'grpc-encoding': 'zip',
    'dapr-app-id': 'callee.default',
  })
  const chunks: Buffer[] = []
  let trailers: IncomingHttpHeaders = {}
  call
    .on('data', (chunk: Buffer) => chunks.push(chunk))
    .on('trailers', (fields) => {
      trailers = fields
    })
  const response = once(call, 'response')
  call.end(raw)
  const [headers] = (await response) as [IncomingHttpHeaders]
  await once(call, 'close')
  assert.deepEqual([headers['content-type'], headers['grpc-encoding']], ['application/grpc+thing', 'zip'])
  assert.deepEqual(Buffer.concat(chunks), raw)
  assert.deepEqual([trailers['grpc-status'], trailers['grpc-message']], ['42', 'own'])
  session.close()
})

test('calls that name no app, an unknown app, an app without gRPC, or a bad id are refused in words', async () => {
  await using app = await httpApp((_, response) => response.end())
  const addresses = new Map<string, Address[]>()
  await using web = await startSidecar({ appId: 'web', app: app.app, addresses })
  const refuse = async (id: string) => {
    const { status } = await call(web.grpc, '/test.Shop/Unary', ['a'], { headers: { 'dapr-app-id': id } })
    return [status?.code, status?.message]
  }
  assert.deepEqual(await refuse('nobody'), [Code.Unknown, 'timeout waiting for address for app id nobody'])
  assert.deepEqual(await refuse('a.b.c'), [Code.Unknown, 'invalid app id a.b.c'])
  assert.deepEqual(await refuse(''), [Code.Unknown, 'app id is empty'])
  const [code, text] = await refuse('web')
  assert.equal(code, Code.Unavailable)
  assert.match(String(text), /--app-protocol grpc/)
  const client = createGrpcClient()
  await assert.rejects(client.unary(web.grpc, '/test.Shop/Unary', Buffer.alloc(0)), {
    code: Code.Unknown,
    message: 'cannot proxy request: missing dapr-callee-app-id or dapr-app-id metadata',
  })
  await assert.rejects(client.unary(web.grpc, '/dapr.proto.runtime.v1.Dapr/Nothing', Buffer.alloc(0)), {
    code: Code.Unknown,
    message: 'failed to proxy request: required metadata dapr-callee-app-id or dapr-app-id not found',
  })
  const { trailers } = await call(web.grpc, '/test.Shop/Unary', ['a'], { headers: { 'dapr-app-id': '' } })
  assert.match(String(trailers[trailers.indexOf('outrider-hint') + 1]), /dapr-app-id: name one/)
  await client[Symbol.asyncDispose]()
})

test('the API token is asked for, and does not travel', async () => {
  await using both = await pair(undefined, 'key')
  const refused = await call(both.caller.grpc, '/test.Shop/Unary', ['a'])
  assert.equal(refused.status?.code, Code.Unauthenticated)
  const taken = await call(both.caller.grpc, '/test.Shop/Unary', ['a'], { headers: { 'dapr-api-token': 'key' } })
  assert.equal(taken.status, undefined)
  assert.deepEqual(values(both.shop.seen.raw, 'dapr-api-token'), ['app-token'])
})

test('a call goes to where the sidecar has moved, and past addresses where nobody is', async () => {
  await using both = await pair()
  assert.equal((await call(both.caller.grpc, '/test.Shop/Unary', ['a'])).status, undefined)
  await both.callee.leave()
  await both.callee.come()
  assert.deepEqual((await call(both.caller.grpc, '/test.Shop/Unary', ['a'])).messages, ['got a'])
  await both.callee.leave()
  const gone = await call(both.caller.grpc, '/test.Shop/Unary', ['a'])
  assert.equal(gone.status?.code, Code.Unavailable)
  const dead = { ...both.callee.internal }
  await both.callee.come()
  both.addresses.set('callee', [dead, both.callee.internal])
  for (let i = 0; i < 10; i++) assert.deepEqual((await call(both.caller.grpc, '/test.Shop/Unary', ['a'])).messages, ['got a'])
})

test('a call that the other side refuses unread is sent again', async () => {
  const addresses = new Map<string, Address[]>()
  let calls = 0
  await using app = await grpcApp({
    '/test.Shop/Refuse': {
      kind: 'raw',
      handle(call) {
        if (++calls === 1) return call.reset(constants.NGHTTP2_REFUSED_STREAM)
        const reader = new FrameReader(1000, (message) => {
          call.respond([':status', '200', 'content-type', 'application/grpc'])
          call.end(frame(message), ['grpc-status', '0'])
        })
        call.sink = { data: (chunk) => reader.push(chunk), requestEnd() {}, streamClosed() {}, drained() {} }
      },
    },
  })
  await using callee = await startSidecar({ appId: 'callee', app: app.app, addresses })
  const reply = await call(callee.grpc, '/test.Shop/Refuse', ['once'])
  assert.deepEqual([reply.status, reply.messages, calls], [undefined, ['once'], 2])
})

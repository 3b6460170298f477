import assert from 'node:assert/strict'
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { Code } from '../../errors.ts'
import type { Address } from '../../peers/resolver.ts'
import { createGrpcClient } from '../../transport/grpc/client.ts'
import { frame } from '../../transport/grpc/frames.ts'
import { bytes, enumeration, type MessageOf, map, message, nested, string } from '../../transport/grpc/message.ts'
import type { GrpcMethod } from '../../transport/grpc/server.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
import { grpcApp, httpApp, startSidecar } from './invoke-harness.ts'

const Verb = { fullName: 'test.Verb', values: {} }
const Data = message('test.Any', { typeUrl: string(1), value: bytes(2) })
const Extension = message('test.HTTPExtension', { verb: enumeration(1, Verb), querystring: string(2) })
const InvokeRequest = message('test.InvokeRequest', {
  method: string(1),
  data: nested(2, Data),
  contentType: string(3),
  httpExtension: nested(4, Extension),
})
const InvokeResponse = message('test.InvokeResponse', { data: nested(1, Data), contentType: string(2) })
const InvokeServiceRequest = message('test.InvokeServiceRequest', { id: string(1), message: nested(3, InvokeRequest) })
const ErrorInfo = message('test.ErrorInfo', { reason: string(1), domain: string(2), metadata: map(3) })
const ON_INVOKE = '/dapr.proto.runtime.v1.AppCallback/OnInvoke'
const INVOKE = '/dapr.proto.runtime.v1.Dapr/InvokeService'
const DETAIL = { typeUrl: 'type.googleapis.com/google.rpc.ErrorInfo', value: ErrorInfo.encode({ reason: 'SOLD_OUT', domain: 'shop' }) }

interface Seen {
  request: MessageOf<typeof InvokeRequest>
  raw: readonly string[]
}

/** OnInvoke that remembers what it was asked, echoes the data, and fails for the method `fail`. */
function onInvoke(seen: Seen[]): GrpcMethod {
  return {
    kind: 'unary',
    handle(bytes, call) {
      const request = InvokeRequest.decode(bytes)
      seen.push({ request, raw: call.rawHeaders })
      call.addHeader('x-app', 'one')
      call.addHeader('x-app', 'two')
      call.setHeader('x-app-bin', 'AAE')
      call.setTrailer('x-last', 'trailer')
      if (request.method === 'fail') throw new GrpcStatus(Code.NotFound, 'no such thing', { details: [DETAIL] })
      return InvokeResponse.encode({
        data: { typeUrl: request.data?.typeUrl ?? '', value: request.data?.value ?? Buffer.alloc(0) },
        contentType: 'text/x',
      })
    },
  }
}

const metadata = (raw: readonly string[], name: string) => raw.filter((_, i) => i % 2 === 1 && raw[i - 1] === name)

interface Reply {
  message?: MessageOf<typeof InvokeResponse>
  status: GrpcStatus | undefined
  headers: IncomingHttpHeaders
  raw: readonly string[]
  trailers: IncomingHttpHeaders
}

/** One InvokeService call with everything that comes back. */
async function invoke(
  address: string,
  request: Parameters<typeof InvokeServiceRequest.encode>[0],
  headers: Record<string, string> = {},
): Promise<Reply> {
  const client = createGrpcClient()
  const reply = await new Promise<Reply>((resolve) => {
    const got: Reply = { status: undefined, headers: {}, raw: [], trailers: {} }
    client
      .stream(
        address,
        INVOKE,
        { headers },
        {
          onHeaders(head, raw) {
            got.headers = head
            got.raw = raw
          },
          onMessage(bytes) {
            got.message = InvokeResponse.decode(bytes)
          },
          onClose(status, trailers) {
            resolve({ ...got, status, trailers })
          },
        },
      )
      .end(frame(InvokeServiceRequest.encode(request)))
  })
  await client[Symbol.asyncDispose]()
  return reply
}

function http(
  port: number,
  method: string,
  path: string,
  headers: Record<string, string> = {},
  body?: string | Readable,
): Promise<{ status: number; headers: IncomingHttpHeaders; text: string }> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host: '127.0.0.1', port, method, path, headers, agent: false }, (response) => {
      let text = ''
      response
        .on('data', (chunk) => {
          text += chunk
        })
        .on('end', () => resolve({ status: response.statusCode as number, headers: response.headers, text }))
    })
    request.on('error', reject)
    if (body instanceof Readable) body.pipe(request)
    else request.end(body)
  })
}

/** `caller` and `callee`, whose app is given; calls go from one or the other, so over two sidecars or one. */
async function pair(app: Awaited<ReturnType<typeof grpcApp | typeof httpApp>>) {
  const addresses = new Map<string, Address[]>()
  const callee = await startSidecar({ appId: 'callee', app: app.app, addresses })
  const caller = await startSidecar({ appId: 'caller', addresses })
  return {
    caller,
    callee,
    async [Symbol.asyncDispose]() {
      await Promise.all([caller[Symbol.asyncDispose](), callee[Symbol.asyncDispose]()])
    },
  }
}

for (const way of ['caller', 'callee'] as const) {
  const how = way === 'caller' ? 'through two sidecars' : 'to the own app'

  test(`InvokeService ${how}, a gRPC app: message, metadata, reply, headers and trailers pass`, async () => {
    const seen: Seen[] = []
    await using app = await grpcApp({ [ON_INVOKE]: onInvoke(seen) })
    await using both = await pair(app)
    const reply = await invoke(
      both[way].grpc,
      { id: 'callee', message: { method: 'a/../b/c', data: { typeUrl: 'mine', value: Buffer.from('hello') }, contentType: 'text/plain' } },
      { 'x-own': 'v', 'own-bin': 'AQI', 'dapr-api-token': 'secret', 'dapr-caller-app-id': 'forged', accept: 'x' },
    )
    assert.equal(reply.status, undefined)
    assert.deepEqual(reply.message, { data: { typeUrl: 'mine', value: Buffer.from('hello') }, contentType: 'text/x' })
    assert.deepEqual(metadata(reply.raw, 'x-app'), ['one', 'two'])
    assert.equal(Buffer.from(String(reply.headers['x-app-bin']), 'base64').toString('hex'), '0001')
    assert.equal(reply.trailers['x-last'], 'trailer')
    const { request, raw } = seen[0] as Seen
    assert.deepEqual([request.method, request.contentType, request.httpExtension], ['b/c', 'text/plain', undefined])
    assert.deepEqual(metadata(raw, 'x-own'), ['v'])
    assert.equal(Buffer.from(metadata(raw, 'own-bin')[0] as string, 'base64').toString('hex'), '0102')
    assert.deepEqual(metadata(raw, 'dapr-api-token'), ['app-token'])
    assert.deepEqual(metadata(raw, 'accept'), ['x'])
    assert.deepEqual(metadata(raw, 'dapr-caller-app-id'), way === 'caller' ? ['caller'] : [])
    assert.deepEqual(metadata(raw, 'dapr-callee-app-id'), way === 'caller' ? ['callee'] : [])
    assert.deepEqual(metadata(raw, 'destination-app-id'), [])
    assert.match(metadata(raw, 'traceparent')[0] as string, /^00-0{32}-/)
    assert.equal(Buffer.from(metadata(raw, 'grpc-trace-bin')[0] as string, 'base64').length, 29)
  })

  test(`InvokeService ${how}, a gRPC app that fails: code, message, details, headers and trailers`, async () => {
    await using app = await grpcApp({ [ON_INVOKE]: onInvoke([]) })
    await using both = await pair(app)
    const reply = await invoke(both[way].grpc, { id: 'callee', message: { method: 'fail' } })
    assert.deepEqual([reply.status?.code, reply.status?.message], [Code.NotFound, 'no such thing'])
    assert.deepEqual(reply.status?.details, [DETAIL])
    assert.equal(reply.trailers['x-last'], 'trailer')
  })

  test(`InvokeService ${how}, an HTTP app: verb, query, metadata, and its status in the reply`, async () => {
    const asked: { method: string; url: string; headers: IncomingHttpHeaders }[] = []
    await using app = await httpApp((request, response) => {
      asked.push({ method: request.method as string, url: request.url as string, headers: request.headers })
      const status = Number(/status\/(\d+)/.exec(request.url as string)?.[1] ?? 201)
      response.writeHead(status, { 'content-type': 'text/y', 'x-app': 'yes', date: 'then' }).end('x'.repeat(100))
    })
    await using both = await pair(app)
    const good = await invoke(
      both[way].grpc,
      {
        id: 'callee',
        message: {
          method: 'do it',
          contentType: 'text/z',
          data: { value: Buffer.from('b') },
          httpExtension: { verb: 4, querystring: 'q=1' },
        },
      },
      { 'x-own': 'v', 'own-bin': 'AQI' },
    )
    assert.equal(good.status, undefined)
    assert.equal(good.message?.contentType, 'text/y')
    assert.equal(good.message?.data?.value.length, 100)
    assert.deepEqual(
      [good.headers['dapr-http-status'], good.headers['x-app'], good.headers['dapr-content-type'], good.headers['dapr-date']],
      ['201', 'yes', 'text/y', 'then'],
    )
    assert.deepEqual([asked[0]?.method, asked[0]?.url], ['PUT', '/do%20it?q=1'])
    const { headers } = asked[0] as (typeof asked)[0]
    assert.deepEqual([headers['x-own'], headers['own-bin'], headers['content-type']], ['v', undefined, 'text/z'])
    assert.match(headers['dapr-authority'] as string, /^127\.0\.0\.1:/)
    const bad = await invoke(both[way].grpc, { id: 'callee', message: { method: 'status/418', httpExtension: { verb: 1 } } })
    assert.deepEqual([bad.status?.code, bad.status?.message], [Code.Unknown, "I'm a teapot"])
    const info = ErrorInfo.decode(bad.status?.details[0]?.value as Buffer)
    assert.deepEqual({ ...info.metadata }, { 'http.code': '418', 'http.error_message': 'x'.repeat(63) })
    assert.equal(bad.headers['dapr-http-status'], '418')
    const without = await invoke(both[way].grpc, { id: 'callee', message: { method: 'x' } })
    assert.equal(without.status?.code, Code.Internal)
    assert.match(without.status?.message as string, /missing HTTP extension field/)
  })

  test(`InvokeService ${how}, a caller that counts its gRPC frames: the app gets the body's own length, over one connection`, async () => {
    const asked: (string | undefined)[] = []
    const ports = new Set<number | undefined>()
    await using app = await httpApp((request, response) => {
      asked.push(request.headers['content-length'])
      ports.add(request.socket.remotePort)
      // As HAProxy does: who answers before the end of a request closes the connection.
      setImmediate(() => {
        const whole = request.readableLength === Number(request.headers['content-length'])
        response.writeHead(200, whole ? {} : { connection: 'close' }).end()
      })
    })
    await using both = await pair(app)
    for (let i = 0; i < 5; i++) {
      const request = { id: 'callee', message: { method: 'x', data: { value: Buffer.from('{}') }, httpExtension: { verb: 2 } } }
      const size = frame(InvokeServiceRequest.encode(request)).length
      const reply = await invoke(both[way].grpc, request, { 'content-length': String(size) })
      assert.equal(reply.status, undefined)
    }
    assert.deepEqual(asked, ['2', '2', '2', '2', '2'])
    assert.equal(ports.size, 1)
  })

  test(`HTTP ${how}, a gRPC app: request, reply and metadata; errors as status and JSON`, async () => {
    const seen: Seen[] = []
    await using app = await grpcApp({ [ON_INVOKE]: onInvoke(seen) })
    await using both = await pair(app)
    for (const body of ['short', Readable.from(['in ', 'pieces'])]) {
      const reply = await http(
        both[way].http,
        'PATCH',
        '/v1.0/invoke/callee/method/do/it?q=1',
        { 'content-type': 'text/z', accept: 'x', 'x-own': 'v', cookie: 'c' },
        body,
      )
      assert.deepEqual([reply.status, reply.text, reply.headers['content-type']], [200, body === 'short' ? body : 'in pieces', 'text/x'])
      assert.equal(reply.headers['x-app'], 'one, two')
      assert.equal(reply.headers['x-app-bin'], undefined)
      const { request, raw } = seen.pop() as Seen
      assert.deepEqual([request.method, request.contentType, request.httpExtension], ['do/it', 'text/z', { verb: 9, querystring: 'q=1' }])
      assert.deepEqual([metadata(raw, 'x-own'), metadata(raw, 'dapr-accept'), metadata(raw, 'dapr-cookie')], [['v'], ['x'], ['c']])
      assert.deepEqual(metadata(raw, 'dapr-content-type'), ['text/z'])
      assert.deepEqual([metadata(raw, 'accept'), metadata(raw, 'cookie')], [[], []])
    }
    const failed = await http(both[way].http, 'GET', '/v1.0/invoke/callee/method/fail')
    assert.equal(failed.status, 404)
    assert.deepEqual(JSON.parse(failed.text), {
      code: 5,
      message: 'no such thing',
      details: [{ '@type': DETAIL.typeUrl, reason: 'SOLD_OUT', domain: 'shop' }],
    })
  })
}

test('an unknown app and one without an app beside it are Internal and say which', async () => {
  const addresses = new Map<string, Address[]>()
  await using alone = await startSidecar({ appId: 'alone', addresses })
  const unknown = await invoke(alone.grpc, { id: 'nobody', message: { method: 'x' } })
  assert.deepEqual(
    [unknown.status?.code, unknown.status?.message],
    [Code.Internal, "failed to invoke, id: nobody, err: couldn't find service: nobody"],
  )
  const own = await invoke(alone.grpc, { id: 'alone', message: { method: 'x' } })
  assert.match(own.status?.message as string, /^failed to invoke, id: alone, err: .*app channel is not initialized/)
})

test('an app that fails its health check is not called, over either wire', async () => {
  const seen: Seen[] = []
  await using app = await grpcApp({ [ON_INVOKE]: onInvoke(seen) })
  let healthy = false
  app.app.healthy = () => healthy
  await using both = await pair(app)
  const here = await invoke(both.callee.grpc, { id: 'callee', message: { method: 'x' } })
  assert.match(here.status?.message as string, /app is not in a healthy state$/)
  const there = await http(both.caller.http, 'GET', '/v1.0/invoke/callee/method/x')
  assert.equal(there.status, 500)
  assert.match(there.text, /error invoking app channel: rpc error: code = Internal desc = app is not in a healthy state/)
  healthy = true
  assert.equal((await invoke(both.callee.grpc, { id: 'callee', message: { method: 'x' } })).status, undefined)
  assert.equal(seen.length, 1)
})

test('an app that is down is Unavailable, and called again once it is back', async () => {
  await using app = await grpcApp({ [ON_INVOKE]: onInvoke([]) })
  await using both = await pair(app)
  assert.equal((await invoke(both.caller.grpc, { id: 'callee', message: { method: 'x' } })).status, undefined)
  await app.stop()
  assert.equal((await invoke(both.caller.grpc, { id: 'callee', message: { method: 'x' } })).status?.code, Code.Unavailable)
  assert.equal((await http(both.caller.http, 'GET', '/v1.0/invoke/callee/method/x')).status, 503)
  await app.start()
  assert.equal((await invoke(both.caller.grpc, { id: 'callee', message: { method: 'x' } })).status, undefined)
})

test('no more calls than the app takes at once; more streams than one connection takes go over several', async () => {
  let running = 0
  let most = 0
  const all = Promise.withResolvers<void>()
  const slow: GrpcMethod = {
    kind: 'unary',
    async handle() {
      most = Math.max(most, ++running)
      if (running === 150) all.resolve()
      await (limited ? new Promise((resolve) => setImmediate(resolve)) : all.promise)
      running--
      return InvokeResponse.encode({})
    },
  }
  let limited = true
  {
    await using app = await grpcApp({ [ON_INVOKE]: slow }, { maxConcurrency: 2 })
    await using both = await pair(app)
    await Promise.all(Array.from({ length: 20 }, () => invoke(both.callee.grpc, { id: 'callee', message: { method: 'x' } })))
    assert.equal(most, 2)
  }
  limited = false
  await using app = await grpcApp({ [ON_INVOKE]: slow }, { maxStreams: 100 })
  await using both = await pair(app)
  const replies = await Promise.all(Array.from({ length: 150 }, () => invoke(both.callee.grpc, { id: 'callee', message: { method: 'x' } })))
  assert.deepEqual([...new Set(replies.map(({ status }) => status))], [undefined])
})

test('a sidecar that moved is called at its new address', async () => {
  await using app = await grpcApp({ [ON_INVOKE]: onInvoke([]) })
  await using both = await pair(app)
  assert.equal((await invoke(both.caller.grpc, { id: 'callee', message: { method: 'x' } })).status, undefined)
  await both.callee.leave()
  await both.callee.come()
  assert.equal((await invoke(both.caller.grpc, { id: 'callee', message: { method: 'x' } })).status, undefined)
})

test('a caller that leaves ends the call at the app', async () => {
  const arrived = Promise.withResolvers<void>()
  const left = Promise.withResolvers<void>()
  await using app = await grpcApp({
    [ON_INVOKE]: {
      kind: 'unary',
      handle: (_, call) =>
        new Promise(() => {
          call.signal.addEventListener('abort', () => left.resolve())
          arrived.resolve()
        }),
    },
  })
  await using both = await pair(app)
  const client = createGrpcClient()
  const call = client.stream(both.caller.grpc, INVOKE, {}, { onMessage() {}, onClose() {} })
  call.end(frame(InvokeServiceRequest.encode({ id: 'callee', message: { method: 'x' } })))
  await arrived.promise
  call.cancel()
  await left.promise
  await client[Symbol.asyncDispose]()
})

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request as httpRequest, type IncomingHttpHeaders, type RequestListener } from 'node:http'
import { test } from 'node:test'
import { Code } from '../../errors.ts'
import type { Address } from '../../peers/resolver.ts'
import { Resiliency } from '../../policy/resiliency.ts'
import type { ResiliencySpec } from '../../resources/kinds.ts'
import { createLogger } from '../../telemetry/log.ts'
import { createGrpcClient } from '../../transport/grpc/client.ts'
import { frame } from '../../transport/grpc/frames.ts'
import { bytes, message, nested, string } from '../../transport/grpc/message.ts'
import type { GrpcMethod, GrpcStream } from '../../transport/grpc/server.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
import { grpcApp, type HarnessApp, httpApp, startSidecar } from './invoke-harness.ts'

const log = createLogger({ level: 'error', json: false, appId: 'test', version: 'test', write: () => {} })
const few = { policies: { retries: { few: { duration: '1ms', maxRetries: 2 } } }, targets: { apps: { callee: { retry: 'few' } } } }
const DETAIL = { typeUrl: 'type.googleapis.com/test.Thing', value: Buffer.from([8, 1]) }

/** An app with its sidecar, and another sidecar with these policies; `resolved` counts how often it looked for the app. */
async function fleet(app: HarnessApp, spec: ResiliencySpec) {
  const addresses = new Map<string, Address[]>()
  const policies = await Resiliency.load({
    log,
    resources: [{ name: 'r', namespace: '', scopes: [], spec, source: { file: '', line: 1 } }],
  })
  const callee = await startSidecar({ addresses, appId: 'callee', app: app.app })
  const caller = await startSidecar({ addresses, appId: 'caller', policies })
  let resolved = 0
  const get = addresses.get.bind(addresses)
  addresses.get = (id) => {
    resolved++
    return get(id)
  }
  return {
    caller,
    callee,
    get resolved() {
      return resolved
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([caller[Symbol.asyncDispose](), callee[Symbol.asyncDispose]()])
      await app[Symbol.asyncDispose]()
    },
  }
}

interface Reply {
  status: number
  headers: IncomingHttpHeaders
  body: Buffer
}

/** Chunks without `length` travel without one, as a stream of unknown size. */
async function post(port: number, method: string, chunks: readonly (Buffer | string)[] = [], length?: number): Promise<Reply> {
  const request = httpRequest({
    port,
    method: 'POST',
    path: `/v1.0/invoke/callee/method/${method}`,
    headers: length === undefined ? {} : { 'content-length': length },
  })
  for (const chunk of chunks) request.write(chunk)
  request.end()
  const [response] = (await once(request, 'response')) as [import('node:http').IncomingMessage]
  const body: Buffer[] = []
  for await (const chunk of response) body.push(chunk as Buffer)
  return { status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(body) }
}

/** An app that answers as the path says (`/500/text`), and counts. */
function answers(seen: Buffer[]): RequestListener {
  return async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    seen.push(Buffer.concat(chunks))
    const [, status, text] = (request.url as string).split('/')
    response.writeHead(Number(status), { 'x-try': seen.length, 'content-type': 'text/x' }).end(text)
  }
}

test('a failing reply is tried again as the policy says, and the last one passes unchanged', async () => {
  const seen: Buffer[] = []
  await using both = await fleet(await httpApp(answers(seen)), few)
  const reply = await post(both.caller.http, '404/gone', ['hello'], 5)
  assert.deepEqual(
    [reply.status, reply.headers['x-try'], reply.headers['content-type'], reply.body.toString()],
    [404, '3', 'text/x', 'gone'],
  )
  assert.deepEqual(seen.map(String), ['hello', 'hello', 'hello'])
  const good = await post(both.caller.http, '302/there')
  assert.deepEqual([good.status, good.headers['x-try']], [302, '4'])
})

test('only codes that match are tried again', async () => {
  const seen: Buffer[] = []
  const spec = {
    policies: { retries: { DefaultAppRetryPolicy: { duration: '1ms', maxRetries: 1, matching: { httpStatusCodes: '500-502' } } } },
  }
  await using both = await fleet(await httpApp(answers(seen)), spec)
  assert.equal((await post(both.caller.http, '503/x')).status, 503)
  assert.equal(seen.length, 1)
  assert.equal((await post(both.caller.http, '502/x')).status, 502)
  assert.equal(seen.length, 3)
})

test('a long body of known length is sent whole each time, one of unknown length goes once', async () => {
  const seen: Buffer[] = []
  await using both = await fleet(await httpApp(answers(seen)), few)
  const long = Buffer.alloc(700_000, 'abc')
  assert.equal((await post(both.caller.http, '500/x', [long], long.length)).status, 500)
  assert.deepEqual(
    seen.map((one) => one.equals(long)),
    [true, true, true],
  )
  const streamed = await post(both.caller.http, '500/once', ['a', 'b'])
  assert.deepEqual([streamed.status, streamed.body.toString(), seen.length], [500, 'once', 4])
})

test('a failing reply too long to hold passes at once', async () => {
  let calls = 0
  const long = Buffer.alloc(3_000_000, 'x')
  await using both = await fleet(
    await httpApp((_, response) => {
      calls++
      response.writeHead(500).end(long)
    }),
    few,
  )
  const reply = await post(both.caller.http, 'long')
  assert.deepEqual([reply.status, reply.body.equals(long), calls], [500, true, 1])
})

test('an attempt whose time is over is given up, and another made', async () => {
  let calls = 0
  const left = Promise.withResolvers<void>()
  await using both = await fleet(
    await httpApp((_, response) => {
      if (++calls === 2) return void response.end('second')
      response.once('close', left.resolve)
    }),
    { policies: { ...few.policies, timeouts: { short: '500ms' } }, targets: { apps: { callee: { retry: 'few', timeout: 'short' } } } },
  )
  assert.equal((await post(both.caller.http, 'slow')).body.toString(), 'second')
  await left.promise
  assert.equal(calls, 2)
})

test('when the time of every attempt is over, the caller hears so', async () => {
  await using both = await fleet(await httpApp(() => {}), {
    policies: { timeouts: { DefaultTimeoutPolicy: '20ms' } },
  })
  const reply = await post(both.caller.http, 'hang')
  assert.equal(reply.status, 500)
  const { errorCode, message: text } = JSON.parse(reply.body.toString())
  assert.deepEqual([errorCode, text], ['ERR_DIRECT_INVOKE', 'failed to invoke, id: callee, err: context deadline exceeded'])
})

test('a good reply that lasts longer than its time is cut, and not asked for again', async () => {
  let calls = 0
  await using both = await fleet(
    await httpApp((_, response) => {
      calls++
      response.write('first')
    }),
    { policies: { ...few.policies, timeouts: { short: '100ms' } }, targets: { apps: { callee: { retry: 'few', timeout: 'short' } } } },
  )
  const request = httpRequest({ port: both.caller.http, path: '/v1.0/invoke/callee/method/x' })
  request.end()
  const [response] = (await once(request, 'response')) as [import('node:http').IncomingMessage]
  const got: Buffer[] = []
  await assert.rejects(async () => {
    for await (const chunk of response) got.push(chunk as Buffer)
  }, /aborted/)
  assert.deepEqual([response.statusCode, Buffer.concat(got).toString(), calls], [200, 'first', 1])
})

test('a breaker stands before one method of an app', async () => {
  const seen: Buffer[] = []
  await using both = await fleet(await httpApp(answers(seen)), {
    policies: { circuitBreakers: { cb: { trip: 'consecutiveFailures > 1', timeout: '1h' } } },
    targets: { apps: { callee: { circuitBreaker: 'cb' } } },
  })
  for (const body of [['streamed'], []]) assert.equal((await post(both.caller.http, '500/x', body)).body.toString(), 'x')
  assert.match((await post(both.caller.http, '500/x')).body.toString(), /failed to invoke, id: callee, err: circuit breaker is open/)
  assert.equal(seen.length, 2)
  assert.equal((await post(both.caller.http, '200/y')).status, 200)
})

test('an app with an entry of its own goes without the built-in retries; with defaults they are inside', async () => {
  await using bare = await fleet(await httpApp(() => {}), { targets: { apps: { callee: {} } } })
  await bare.callee.leave()
  assert.equal((await post(bare.caller.http, 'x')).status, 500)
  assert.equal(bare.resolved, 1)
  await using defaults = await fleet(await httpApp(() => {}), {
    policies: { retries: { DefaultRetryPolicy: { duration: '1ms', maxRetries: 1 } } },
  })
  await defaults.callee.leave()
  assert.equal((await post(defaults.caller.http, 'x')).status, 500)
  assert.equal(defaults.resolved, 8)
})

test('nothing is tried for a caller who has gone', async () => {
  const left = Promise.withResolvers<void>()
  const asked = Promise.withResolvers<void>()
  let calls = 0
  await using both = await fleet(
    await httpApp((request, response) => {
      calls++
      if (request.url === '/next') return void response.end()
      response.once('close', left.resolve)
      asked.resolve()
    }),
    few,
  )
  const request = httpRequest({ port: both.caller.http, path: '/v1.0/invoke/callee/method/x' }).on('error', () => {})
  request.end()
  await asked.promise
  request.destroy()
  await left.promise
  assert.equal((await post(both.caller.http, 'next')).status, 200)
  assert.equal(calls, 2)
})

const Data = message('test.Any', { typeUrl: string(1), value: bytes(2) })
const InvokeRequest = message('test.InvokeRequest', { method: string(1), data: nested(2, Data), contentType: string(3) })
const InvokeServiceRequest = message('test.InvokeServiceRequest', { id: string(1), message: nested(3, InvokeRequest) })
const ON_INVOKE = '/dapr.proto.runtime.v1.AppCallback/OnInvoke'

async function call(address: string, path: string, messages: readonly Buffer[], headers: Record<string, string> = {}) {
  const client = createGrpcClient()
  try {
    return await new Promise<{ status: GrpcStatus | undefined; trailers: IncomingHttpHeaders; got: string[] }>((resolve) => {
      const got: string[] = []
      const out = client.stream(
        address,
        path,
        { headers: { 'dapr-app-id': 'callee', ...headers } },
        {
          onMessage: (one) => void got.push(one.toString()),
          onClose: (status, trailers) => resolve({ status, trailers, got }),
        },
      )
      for (const one of messages) out.write(frame(one))
      out.end()
    })
  } finally {
    await client[Symbol.asyncDispose]()
  }
}

test('over InvokeService every failure is tried again, whatever matching says', async () => {
  let calls = 0
  const spec = { policies: { retries: { DefaultAppRetryPolicy: { duration: '1ms', maxRetries: 2, matching: { gRPCStatusCodes: '1' } } } } }
  const app = await grpcApp({
    [ON_INVOKE]: {
      kind: 'unary',
      handle(_, server) {
        calls++
        server.setTrailer('x-last', String(calls))
        throw new GrpcStatus(Code.NotFound, 'no such thing', { details: [DETAIL] })
      },
    },
  })
  await using both = await fleet(app, spec)
  const request = InvokeServiceRequest.encode({ id: 'callee', message: { method: 'm' } })
  const { status, trailers } = await call(both.caller.grpc, '/dapr.proto.runtime.v1.Dapr/InvokeService', [request])
  assert.deepEqual(
    [status?.code, status?.message, status?.details, trailers['x-last'], calls],
    [Code.NotFound, 'no such thing', [DETAIL], '3', 3],
  )
})

/** A method that counts its calls, and what a call does at its end. */
function counted(end: (stream: GrpcStream, messages: readonly Buffer[], calls: number) => void) {
  const counter = { calls: 0 }
  const method: GrpcMethod = {
    kind: 'stream',
    handle(stream) {
      const calls = ++counter.calls
      const messages: Buffer[] = []
      stream.onMessage = (one) => void messages.push(one)
      stream.onEnd = () => end(stream, messages, calls)
    },
  }
  return { counter, method }
}

test('a proxied call is made again while the code matches, and its last status passes unchanged', async () => {
  const echo = counted((stream, messages, calls) => {
    stream.setTrailer('x-last', String(calls))
    const code = Number(messages[0]?.toString().split(' ')[0])
    stream.fail(new GrpcStatus(code as Code, 'ä 100 %', { details: [DETAIL] }))
  })
  const spec = {
    policies: { retries: { DefaultAppRetryPolicy: { duration: '1ms', maxRetries: 2, matching: { gRPCStatusCodes: '1-5' } } } },
  }
  await using both = await fleet(await grpcApp({ '/test.Shop/Fail': echo.method }), spec)
  const long = Buffer.concat([Buffer.from('5 '), Buffer.alloc(300_000)])
  const { status, trailers } = await call(both.caller.grpc, '/test.Shop/Fail', [long])
  assert.deepEqual([status?.code, status?.message, status?.details, trailers['x-last']], [Code.NotFound, 'ä 100 %', [DETAIL], '3'])
  assert.equal((await call(both.caller.grpc, '/test.Shop/Fail', [Buffer.from('6')])).trailers['x-last'], '4')
  const before = echo.counter.calls
  await call(both.caller.grpc, '/test.Shop/Fail', [Buffer.from('5'), Buffer.from('more')])
  assert.equal(echo.counter.calls, before + 1, 'a conversation is had once')
  await call(both.caller.grpc, '/test.Shop/Fail', [Buffer.from('5')], { 'dapr-stream': 'true' })
  assert.equal(echo.counter.calls, before + 2, 'a call that says it lasts is under no policy once it is open')
  await call(both.callee.grpc, '/test.Shop/Fail', [Buffer.from('5')])
  assert.equal(echo.counter.calls, before + 3, 'the own app is called as ever')
})

test('a proxied call that failed with headers alone is made again; one that has answered is not', async () => {
  const late = counted((stream, _, calls) => {
    stream.write(frame(Buffer.from('first')))
    stream.fail(new GrpcStatus(Code.Aborted, String(calls)))
  })
  const recovers = counted((stream, messages, calls) => {
    stream.setHeader('x-early', 'yes')
    if (calls < 3) stream.fail(new GrpcStatus(Code.Unavailable, 'not yet'))
    else stream.end(frame(messages[0] as Buffer))
  })
  await using both = await fleet(await grpcApp({ '/test.Shop/Late': late.method, '/test.Shop/Recovers': recovers.method }), few)
  const cut = await call(both.caller.grpc, '/test.Shop/Late', [Buffer.from('x')])
  assert.deepEqual([cut.got, cut.status?.code, cut.status?.message], [['first'], Code.Aborted, '1'])
  const good = await call(both.caller.grpc, '/test.Shop/Recovers', [Buffer.from('hello')])
  assert.deepEqual([good.got, good.status, recovers.counter.calls], [['hello'], undefined, 3])
})

test('the time of a proxied call is bounded at each attempt, and a breaker refuses in words', async () => {
  const slow = counted((stream, _, calls) => {
    if (calls === 2) stream.end(frame(Buffer.from('second')))
  })
  const hang = counted(() => {})
  await using both = await fleet(await grpcApp({ '/test.Shop/Slow': slow.method, '/test.Shop/Hang': hang.method }), {
    policies: {
      ...few.policies,
      timeouts: { short: '50ms' },
      circuitBreakers: { cb: { trip: 'consecutiveFailures > 1', timeout: '1h' } },
    },
    targets: { apps: { callee: { retry: 'few', timeout: 'short', circuitBreaker: 'cb' } } },
  })
  assert.deepEqual((await call(both.caller.grpc, '/test.Shop/Slow', [Buffer.from('x')])).got, ['second'])
  const { status } = await call(both.caller.grpc, '/test.Shop/Hang', [Buffer.from('x')])
  assert.deepEqual([status?.code, status?.message, hang.counter.calls], [Code.Unknown, 'circuit breaker is open', 2])
})

test('nobody there: tried again by the policy, whatever its codes', async () => {
  await using both = await fleet(await grpcApp({}), {
    policies: { retries: { r: { duration: '1ms', maxRetries: 2, matching: { gRPCStatusCodes: '1' } } } },
    targets: { apps: { callee: { retry: 'r' } } },
  })
  await both.callee.leave()
  const { status } = await call(both.caller.grpc, '/test.Shop/X', [Buffer.from('x')])
  assert.equal(status?.code, Code.Unavailable)
  assert.equal(both.resolved >= 3, true)
})

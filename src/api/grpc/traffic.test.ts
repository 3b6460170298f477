import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage, type OutgoingHttpHeaders, type RequestListener } from 'node:http'
import { test } from 'node:test'
import { Code } from '../../errors.ts'
import type { Address } from '../../peers/resolver.ts'
import { Balancer } from '../../peers/resolver-balancer.ts'
import { Resiliency } from '../../policy/resiliency.ts'
import { inboundPolicies } from '../../policy/traffic/inbound.ts'
import { outboundPolicies } from '../../policy/traffic/outbound.ts'
import { Traffic } from '../../policy/traffic/traffic.ts'
import type { ResiliencySpec } from '../../resources/kinds.ts'
import type { TrafficPolicySpec } from '../../resources/traffic-schema.ts'
import { createLogger } from '../../telemetry/log.ts'
import { createGrpcClient } from '../../transport/grpc/client.ts'
import { frame } from '../../transport/grpc/frames.ts'
import type { GrpcMethod } from '../../transport/grpc/server.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
import { grpcApp, type HarnessApp, type HarnessSidecar, httpApp, startSidecar } from './invoke-harness.ts'

// Every policy of a TrafficPolicy over real sockets: app → sidecar → sidecar → app, by HTTP and by gRPC.

const log = createLogger({ level: 'error', json: false, appId: 'test', version: 'test', write: () => {} })
const resource = <T>(spec: T) => ({ name: 'r', namespace: '', scopes: [], spec, source: { file: '', line: 1 } })
const often = { policies: { retries: { often: { duration: '1ms', maxRetries: 5 } } }, targets: { apps: { callee: { retry: 'often' } } } }

/** Sidecars of these apps, all `callee`, and of `caller`, under a policy; `acted` hears what it did. */
async function fleet(apps: readonly HarnessApp[], spec: TrafficPolicySpec, resiliency?: ResiliencySpec) {
  const acted: string[] = []
  const traffic = new Traffic([resource(spec)], { acted: (...event) => acted.push(event.slice(2).join(' ')), limit() {} })
  const own = traffic.inbound()
  const calls = outboundPolicies(await Resiliency.load({ log, resources: resiliency ? [resource(resiliency)] : [] }), traffic)
  const addresses = new Map<string, Address[]>()
  const balancer = new Balancer({ random: () => 0 })
  const callees: HarnessSidecar[] = []
  for (const { app } of apps) {
    callees.push(await startSidecar({ addresses, appId: 'callee', app, traffic: { inbound: own && inboundPolicies(own) } }))
  }
  addresses.set(
    'callee',
    callees.map(({ internal }) => internal),
  )
  const caller = await startSidecar({ addresses, appId: 'caller', balancer, traffic: { calls } })
  const another = await startSidecar({ addresses, appId: 'another', balancer, traffic: { calls } })
  return {
    acted,
    callees,
    caller,
    another,
    async [Symbol.asyncDispose]() {
      await Promise.all([...callees, caller, another].map((one) => one[Symbol.asyncDispose]()))
      await Promise.all(apps.map((one) => one[Symbol.asyncDispose]()))
      balancer[Symbol.dispose]()
    },
  }
}

async function send(port: number, path: string, method = 'GET', body?: string) {
  const headers: OutgoingHttpHeaders = body === undefined ? {} : { 'content-length': body.length }
  const sent = httpRequest({ port, method, path: `/v1.0/invoke/callee/method/${path}`, headers }).end(body)
  const [reply] = (await once(sent, 'response')) as [IncomingMessage]
  let text = ''
  for await (const part of reply) text += part
  return { status: reply.statusCode, text, hint: reply.headers['outrider-hint'] as string | undefined }
}

async function call(address: string, path: string, one = Buffer.from('hi')) {
  const client = createGrpcClient()
  try {
    return await new Promise<{ status: GrpcStatus | undefined; got: string[]; hint: unknown }>((resolve) => {
      const got: string[] = []
      const out = client.stream(
        address,
        path,
        { headers: { 'dapr-app-id': 'callee' } },
        {
          onMessage: (part) => void got.push(part.toString()),
          onClose: (status, trailers) => resolve({ status, got, hint: trailers['outrider-hint'] }),
        },
      )
      out.write(frame(one))
      out.end()
    })
  } finally {
    await client[Symbol.asyncDispose]()
  }
}

/** Answers every request but the first, which it holds; `left`: the first was given up. */
function holdsFirst() {
  const left = Promise.withResolvers<void>()
  const app = {
    calls: 0,
    left: left.promise,
    listener: ((request, response) => {
      request.resume()
      if (++app.calls === 1) response.once('close', left.resolve)
      else request.once('end', () => response.end(`answer ${app.calls}`))
    }) satisfies RequestListener as RequestListener,
  }
  return app
}

const echo: GrpcMethod = { kind: 'unary', handle: (request) => request }

test('a slow request that is safe is sent again, and the slow one is given up', async () => {
  const app = holdsFirst()
  await using all = await fleet([await httpApp(app.listener)], {
    policies: { hedges: { soon: { delay: '20ms' } } },
    targets: { apps: { callee: { hedge: 'soon' } } },
  })
  assert.deepEqual(await send(all.caller.http, 'x'), { status: 200, text: 'answer 2', hint: undefined })
  await app.left
  assert.deepEqual(all.acted, ['hedge sent'])
})

test('one that is not safe goes once, unless its method is named', async () => {
  const app = holdsFirst()
  await using all = await fleet([await httpApp(app.listener)], {
    policies: { hedges: { soon: { delay: '5ms' } }, timeouts: { short: { overall: '600ms' } } },
    targets: { apps: { callee: { hedge: 'soon', timeout: 'short' } } },
  })
  const reply = await send(all.caller.http, 'x', 'POST', 'body')
  assert.match(reply.text, /context deadline exceeded/)
  assert.deepEqual([app.calls, all.acted], [1, ['timeout overall']])
  const told = holdsFirst()
  await using named = await fleet([await httpApp(told.listener)], {
    policies: { hedges: { soon: { delay: '5ms', methods: ['PUT'] } } },
    targets: { apps: { '*': { hedge: 'soon' } } },
  })
  assert.equal((await send(named.caller.http, 'x', 'PUT', 'body')).text, 'answer 2')
})

test('a try that takes too long is followed by another, within the time of all', async () => {
  const app = holdsFirst()
  const spec = (overall: string): TrafficPolicySpec => ({
    policies: { timeouts: { t: { perTry: '200ms', overall } } },
    targets: { apps: { callee: { timeout: 't' } } },
  })
  await using all = await fleet([await httpApp(app.listener)], spec('10s'), often)
  assert.match((await send(all.caller.http, 'x')).text, /^answer \d$/)
  assert.equal(all.acted[0], 'timeout perTry')
  await app.left
  let calls = 0
  await using never = await fleet([await httpApp(() => void calls++)], spec('1500ms'), often)
  assert.match((await send(never.caller.http, 'x')).text, /context deadline exceeded/)
  assert.ok(calls >= 2 && calls <= 8, `${calls} tries`)
  assert.equal(never.acted.at(-1), 'timeout overall')
})

test('retries stop when their budget is used up, those of lost connections too', async () => {
  let calls = 0
  const spec: TrafficPolicySpec = {
    policies: { retryBudgets: { tight: { percent: 50, minPerSecond: 0, window: '1h' } } },
    targets: { apps: { callee: { retryBudget: 'tight' } } },
  }
  const app = await httpApp((_, response) => {
    calls++
    response.writeHead(500).end()
  })
  await using all = await fleet([app], spec, often)
  for (let i = 0; i < 10; i++) assert.equal((await send(all.caller.http, 'x')).status, 500)
  assert.equal(calls, 15)
  assert.ok(all.acted.includes('retryBudget refused'))

  await using lost = await fleet([await httpApp(() => {})], {
    policies: { retryBudgets: { none: { percent: 0, minPerSecond: 0 } } },
    targets: { apps: { callee: { retryBudget: 'none' } } },
  })
  await lost.callees[0]?.leave()
  assert.equal((await send(lost.caller.http, 'x')).status, 500)
  assert.deepEqual(lost.acted, ['retryBudget refused'])
})

test('a rate limit for each caller refuses with a hint, by HTTP and by gRPC', async () => {
  const spec: TrafficPolicySpec = {
    policies: { rateLimits: { two: { requestsPerSecond: 0.001, burst: 2, per: 'caller' } } },
    targets: { inbound: { rateLimit: 'two' } },
  }
  await using http = await fleet([await httpApp((_, response) => response.end('well'))], spec)
  const statuses = []
  for (let i = 0; i < 3; i++) statuses.push((await send(http.caller.http, 'x')).status)
  assert.deepEqual(statuses, [200, 200, 429])
  const refused = await send(http.caller.http, 'x')
  assert.deepEqual(JSON.parse(refused.text), {
    errorCode: 'ERR_RATE_LIMITED',
    message: 'rate limit of the app for the caller caller reached: 0.001 requests a second',
  })
  assert.match(refused.hint ?? '', /^try again in \d+ ms/)
  assert.equal((await send(http.another.http, 'x')).status, 200)
  assert.deepEqual(http.acted, ['rateLimit shed', 'rateLimit shed'])

  await using grpc = await fleet([await grpcApp({ '/test.Shop/Say': echo })], spec)
  for (let i = 0; i < 2; i++) assert.deepEqual((await call(grpc.caller.grpc, '/test.Shop/Say')).got, ['hi'])
  const { status, hint } = await call(grpc.caller.grpc, '/test.Shop/Say')
  assert.equal(status?.code, Code.ResourceExhausted)
  assert.match(String(hint), /^try again in \d+ ms/)
  assert.deepEqual((await call(grpc.another.grpc, '/test.Shop/Say')).got, ['hi'])
})

test('an adaptive limit sheds what it has no place for, and gives places back', async () => {
  const held: (() => void)[] = []
  const asked = Promise.withResolvers<void>()
  const app = await httpApp((request, response) => {
    if (request.url !== '/hold') return void response.end('well')
    held.push(() => response.end('held'))
    asked.resolve()
  })
  const limits = { policies: { concurrencyLimits: { one: { initial: 1, max: 1 } } } }
  await using all = await fleet([app], { ...limits, targets: { apps: { callee: { concurrencyLimit: 'one' } } } })
  const first = send(all.caller.http, 'hold')
  await asked.promise
  const refused = await send(all.caller.http, 'x')
  assert.deepEqual([refused.status, JSON.parse(refused.text).errorCode], [429, 'ERR_OVERLOADED'])
  assert.match(refused.hint ?? '', /try again/)
  for (const end of held) end()
  assert.equal((await first).text, 'held')
  assert.equal((await send(all.caller.http, 'x')).text, 'well')

  const gate = Promise.withResolvers<Buffer>()
  const reached = Promise.withResolvers<void>()
  const slow: GrpcMethod = {
    kind: 'unary',
    handle: (request) => {
      reached.resolve()
      return request.toString() === 'hold' ? gate.promise : request
    },
  }
  await using grpc = await fleet([await grpcApp({ '/test.Shop/Slow': slow })], {
    ...limits,
    targets: { inbound: { concurrencyLimit: 'one' } },
  })
  const holding = call(grpc.caller.grpc, '/test.Shop/Slow', Buffer.from('hold'))
  await reached.promise
  assert.equal((await call(grpc.caller.grpc, '/test.Shop/Slow')).status?.code, Code.ResourceExhausted)
  gate.resolve(Buffer.from('done'))
  assert.deepEqual((await holding).got, ['done'])
  assert.deepEqual((await call(grpc.caller.grpc, '/test.Shop/Slow')).got, ['hi'])
})

test('an address that fails is put out, and the others serve', async () => {
  let bad = 0
  const failing = await httpApp((_, response) => {
    bad++
    response.writeHead(503).end()
  })
  const well = await httpApp((_, response) => response.end('well'))
  await using all = await fleet([failing, well], {
    policies: { ejections: { e: { consecutiveFailures: 3, baseTime: '1h' } } },
    targets: { apps: { callee: { ejection: 'e' } } },
  })
  const statuses = []
  for (let i = 0; i < 12; i++) statuses.push((await send(all.caller.http, 'x')).status)
  assert.deepEqual(statuses, [503, 503, 503, ...Array(9).fill(200)])
  assert.deepEqual([bad, all.acted], [3, ['ejection ejected']])
})

test('an address is put out for the failures of proxied gRPC calls too', async () => {
  const broken = await grpcApp({
    '/test.Shop/Say': {
      kind: 'unary',
      handle() {
        throw new GrpcStatus(Code.Internal, 'broken')
      },
    },
  })
  await using all = await fleet([broken, await grpcApp({ '/test.Shop/Say': echo })], {
    policies: { ejections: { e: { consecutiveFailures: 2, baseTime: '1h' } } },
    targets: { apps: { callee: { ejection: 'e' } } },
  })
  const codes = []
  for (let i = 0; i < 6; i++) codes.push((await call(all.caller.grpc, '/test.Shop/Say')).status?.code ?? 0)
  assert.deepEqual(codes, [13, 13, 0, 0, 0, 0])
})

test('faults are injected on the way out and on the way in, by HTTP and by gRPC', async () => {
  const faults = (fault: NonNullable<TrafficPolicySpec['policies']['faults']>[string], inbound: boolean): TrafficPolicySpec => ({
    policies: { faults: { chaos: fault } },
    targets: inbound ? { inbound: { fault: 'chaos' } } : { apps: { callee: { fault: 'chaos' } } },
  })
  for (const inbound of [false, true]) {
    let calls = 0
    const app = () => httpApp((_, response) => response.end(`${++calls}`))
    await using failing = await fleet([await app()], faults({ error: { percent: 100, httpStatus: 418, grpcStatus: 9 } }, inbound))
    const reply = await send(failing.caller.http, 'x')
    assert.deepEqual([reply.status, JSON.parse(reply.text).errorCode], [418, 'ERR_FAULT_INJECTED'], `inbound ${inbound}`)
    await using aborting = await fleet([await app()], faults({ abort: { percent: 100 } }, inbound))
    const lost = await send(aborting.caller.http, 'x')
    assert.equal(lost.status, 500)
    assert.match(lost.text, /connection aborted: fault injected by the policy chaos/)
    assert.equal(calls, 0)
    await using slow = await fleet([await app()], faults({ delay: { percent: 100, duration: '120ms' } }, inbound))
    const began = performance.now()
    assert.equal((await send(slow.caller.http, 'x')).text, '1')
    assert.ok(performance.now() - began >= 119)
    await using grpc = await fleet([await grpcApp({ '/test.Shop/Say': echo })], faults({ error: { percent: 100, grpcStatus: 9 } }, inbound))
    assert.equal((await call(grpc.caller.grpc, '/test.Shop/Say')).status?.code, Code.FailedPrecondition)
  }
})

test('a fault in one request is what retries and hedges are for', async () => {
  const chances = [0.1, 0.1, 0.9]
  const random = Math.random
  Math.random = () => chances.shift() ?? 0.9
  try {
    await using all = await fleet(
      [await httpApp((_, response) => response.end('well'))],
      { policies: { faults: { f: { error: { percent: 50 } } } }, targets: { apps: { callee: { fault: 'f' } } } },
      often,
    )
    assert.equal((await send(all.caller.http, 'x')).text, 'well')
    assert.deepEqual(all.acted, ['fault error', 'fault error'])
  } finally {
    Math.random = random
  }
})

test('an inbound policy lets replies stream as they come', async () => {
  const more = Promise.withResolvers<void>()
  const app = await httpApp(async (_, response) => {
    response.write('first ')
    await more.promise
    response.end('second')
  })
  await using all = await fleet([app], {
    policies: { concurrencyLimits: { l: {} } },
    targets: { inbound: { concurrencyLimit: 'l' } },
  })
  const sent = httpRequest({ port: all.caller.http, path: '/v1.0/invoke/callee/method/x' }).end()
  const [reply] = (await once(sent, 'response')) as [IncomingMessage]
  let text = ''
  for await (const part of reply) {
    text += part
    more.resolve()
  }
  assert.equal(text, 'first second')
})

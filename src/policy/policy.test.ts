import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { ResiliencySpec } from '../resources/kinds.ts'
import { createLogger } from '../telemetry/log.ts'
import { type BreakerState, CircuitBreaker, parseBreaker } from './circuit-breaker.ts'
import { Resiliency } from './resiliency.ts'
import { MAX_ELAPSED, parseRetry, retriesCode, waitBefore } from './retry.ts'
import { createRunner } from './runner.ts'

const lines: string[] = []
const log = createLogger({ level: 'debug', json: false, appId: 'test', version: 'test', write: (line) => lines.push(line) })

describe('retries', () => {
  it("read Dapr's fields and defaults, bare numbers as milliseconds", () => {
    assert.deepEqual(parseRetry('r', {}), {
      kind: 'constant',
      duration: 5000,
      maxInterval: 60_000,
      maxRetries: -1,
      http: undefined,
      grpc: undefined,
    })
    const retry = parseRetry('r', {
      policy: 'Exponential',
      maxInterval: '1500',
      maxRetries: 4,
      matching: { httpStatusCodes: '429,,500-599', gRPCStatusCodes: '1-4' },
    })
    assert.deepEqual(
      [retry.kind, retry.maxInterval, retry.http, retry.grpc],
      [
        'exponential',
        1500,
        [
          [429, 429],
          [500, 599],
        ],
        [[1, 4]],
      ],
    )
  })

  it('name what cannot be read', () => {
    const wrong: [Parameters<typeof parseRetry>[1], RegExp][] = [
      [{ policy: 'linear' }, /retry r: policy "linear"/],
      [{ duration: 'soon' }, /retry r: duration: "soon"/],
      [{ matching: { httpStatusCodes: '600' } }, /httpStatusCodes: "600"/],
      [{ matching: { httpStatusCodes: '500-400' } }, /"500-400"/],
      [{ matching: { httpStatusCodes: '1-2-3' } }, /"1-2-3"/],
      [{ matching: { gRPCStatusCodes: '17' } }, /gRPCStatusCodes: "17"/],
      [{ matching: { gRPCStatusCodes: ' 1' } }, /" 1"/],
    ]
    for (const [text, message] of wrong) assert.throws(() => parseRetry('r', text), message)
  })

  it('wait as the policy says, and end', () => {
    const constant = parseRetry('c', { duration: '20ms', maxRetries: 2 })
    assert.deepEqual(
      [1, 2, 3].map((retry) => waitBefore(constant, retry, 1e9)),
      [20, 20, undefined],
    )
    const exponential = parseRetry('e', { policy: 'exponential', maxInterval: '1s' })
    assert.deepEqual(
      [1, 2, 3, 9].map((retry) => waitBefore(exponential, retry, 0, () => 0.5)),
      [500, 750, 1000, 1000],
    )
    assert.deepEqual(
      [0, 1].map((random) => waitBefore(exponential, 1, 0, () => random)),
      [250, 750],
    )
    assert.equal(
      waitBefore(exponential, 50, MAX_ELAPSED, () => 0.5),
      undefined,
    )
  })

  it('match codes by their own list, and failures without a code always', () => {
    const retry = parseRetry('r', { matching: { httpStatusCodes: '500-502', gRPCStatusCodes: '14' } })
    assert.deepEqual(
      [undefined, 500, 502, 503, 404, 14, 13, 99, 700].map((code) => retriesCode(retry, code)),
      [true, true, true, false, false, true, false, false, false],
    )
    assert.equal(retriesCode(parseRetry('r', {}), 404), true)
  })
})

describe('circuit breaker', () => {
  const fail = () => Promise.reject(new Error('no'))
  const succeed = () => Promise.resolve('yes')

  it('opens when it trips, refuses, lets maxRequests through after the timeout, and closes on their success', async () => {
    let now = 0
    const changes: [BreakerState, BreakerState][] = []
    const settings = await parseBreaker('cb', { maxRequests: 2, timeout: '1s', trip: 'consecutiveFailures >= 3' })
    const breaker = new CircuitBreaker(
      settings,
      (from, to) => changes.push([from, to]),
      () => now,
    )
    for (let index = 0; index < 2; index++) await assert.rejects(breaker.run(fail), /no/)
    await breaker.run(succeed)
    for (let index = 0; index < 3; index++) await assert.rejects(breaker.run(fail), /no/)
    await assert.rejects(breaker.run(succeed), /circuit breaker is open/)
    now = 999
    await assert.rejects(breaker.run(succeed), /circuit breaker is open/)
    now = 1000
    const slow = Promise.withResolvers<string>()
    const first = breaker.run(() => slow.promise)
    const second = breaker.run(succeed)
    await assert.rejects(breaker.run(succeed), /too many requests/)
    slow.resolve('late')
    await Promise.all([first, second])
    assert.equal(breaker.state, 'closed')
    assert.deepEqual(changes, [
      ['closed', 'open'],
      ['open', 'half-open'],
      ['half-open', 'closed'],
    ])
  })

  it('opens again on a failure while half open, and does not count what began before', async () => {
    let now = 0
    const breaker = new CircuitBreaker(await parseBreaker('cb', { trip: 'totalFailures > 0', timeout: '10ms' }), undefined, () => now)
    const early = Promise.withResolvers<string>()
    const before = breaker.run(() => early.promise)
    await assert.rejects(breaker.run(fail))
    now = 10
    assert.equal(breaker.state, 'half-open')
    early.resolve('from another time')
    await before
    assert.equal(breaker.state, 'half-open')
    await assert.rejects(breaker.run(fail))
    assert.equal(breaker.state, 'open')
  })

  it('forgets its counts at each interval', async () => {
    let now = 0
    const breaker = new CircuitBreaker(await parseBreaker('cb', { interval: '5s', trip: 'totalFailures >= 2' }), undefined, () => now)
    await assert.rejects(breaker.run(fail))
    now = 5000
    await assert.rejects(breaker.run(fail))
    assert.equal(breaker.state, 'closed')
    now = 6000
    await assert.rejects(breaker.run(fail))
    assert.equal(breaker.state, 'open')
  })

  it('takes any CEL over its counts, and refuses what is none', async () => {
    const { trip } = await parseBreaker('cb', { trip: 'requests > 3 && totalFailures * 2 > requests' })
    const counts = { requests: 4, totalSuccesses: 1, totalFailures: 3, consecutiveSuccesses: 0, consecutiveFailures: 3 }
    assert.deepEqual([trip(counts), trip({ ...counts, requests: 3 }), trip({ ...counts, totalFailures: 2 })], [true, false, false])
    await assert.rejects(parseBreaker('cb', { trip: 'totalFailures >' }), /circuit breaker cb: trip/)
    assert.equal((await parseBreaker('cb', {})).trip({ ...counts, consecutiveFailures: 6 }), true)
  })
})

describe('runner', () => {
  const retry = parseRetry('r', { duration: '10ms', maxRetries: 3, matching: { httpStatusCodes: '500' } })
  const failing = (times: number, error: () => Error) => {
    let calls = 0
    return { calls: () => calls, run: async () => (++calls <= times ? Promise.reject(error()) : 'done') }
  }

  it('is nothing where nothing is configured', () => {
    assert.equal(createRunner({ name: 'x', log }), undefined)
  })

  it('tries again until it works, and says so once', async () => {
    lines.length = 0
    const work = failing(2, () => new Error('down'))
    const activations: string[] = []
    const run = createRunner({ name: 'component[s] output', retry, log, onActivation: (kind) => activations.push(kind) })
    assert.equal(await run?.(work.run), 'done')
    assert.equal(work.calls(), 3)
    assert.deepEqual(activations, ['retry'])
    const said = lines.filter((line) => !line.includes('level=debug')).join('')
    assert.match(
      said,
      /Error processing operation component\[s\] output\. Retrying in 10ms….*Recovered processing operation component\[s\] output after 3 attempts/s,
    )
  })

  it('gives the last error when retries are used up, the code does not match, or the error is permanent', async () => {
    const run = createRunner({ name: 'x', retry, log })
    const cases: [() => Error, number][] = [
      [() => new Error('down'), 4],
      [() => Object.assign(new Error('status'), { status: 500 }), 4],
      [() => Object.assign(new Error('status'), { status: 404 }), 1],
      [() => Object.assign(new Error('etag'), { permanent: true }), 1],
    ]
    for (const [error, calls] of cases) {
      const work = failing(100, error)
      await assert.rejects(run?.(work.run) as Promise<unknown>, error())
      assert.equal(work.calls(), calls)
    }
  })

  it('bounds each attempt, whose signal ends, and tries again', async () => {
    const signals: (AbortSignal | undefined)[] = []
    const run = createRunner({ name: 'x', retry: { ...retry, maxRetries: 1 }, timeout: 5, log })
    await assert.rejects(
      run?.((signal) => {
        signals.push(signal)
        return new Promise(() => {})
      }) as Promise<unknown>,
      /context deadline exceeded/,
    )
    assert.deepEqual(
      signals.map((signal) => signal?.aborted),
      [true, true],
    )
  })

  it('stops waiting when the caller goes, with the error so far', async () => {
    const stop = new AbortController()
    const run = createRunner({ name: 'x', retry: { ...retry, duration: 3_600_000 }, log })
    const work = failing(100, () => new Error('down'))
    const result = run?.(work.run, stop.signal)
    setImmediate(() => stop.abort())
    await assert.rejects(result as Promise<unknown>, /down/)
  })

  it('an open breaker ends the retries', async () => {
    const breaker = new CircuitBreaker(await parseBreaker('cb', { trip: 'consecutiveFailures > 1' }))
    const run = createRunner({ name: 'x', retry, breaker, log })
    const work = failing(100, () => new Error('down'))
    await assert.rejects(run?.(work.run) as Promise<unknown>, /circuit breaker is open/)
    assert.equal(work.calls(), 2)
  })
})

describe('Resiliency resources', () => {
  const load = (...specs: ResiliencySpec[]) =>
    Resiliency.load({ log, resources: specs.map((spec, index) => ({ name: `res${index}`, namespace: '', scopes: [], spec })) as never })
  const policies = {
    timeouts: { fast: '5ms', DefaultTimeoutPolicy: '1h' },
    retries: {
      few: { duration: '1ms', maxRetries: 1 },
      DefaultRetryPolicy: { duration: '1ms', maxRetries: 2 },
      DefaultStatestoreComponentOutboundRetryPolicy: { duration: '1ms', maxRetries: 4 },
    },
  }
  const attempts = async (run: ReturnType<Resiliency['component']>) => {
    let calls = 0
    await (run as NonNullable<typeof run>)(async () => {
      calls++
      throw new Error('down')
    }).catch(() => {})
    return calls
  }

  it('find the entry of a target, else the most particular default', async () => {
    const resiliency = await load({ policies, targets: { components: { store: { outbound: { retry: 'few' } }, bare: {} } } })
    assert.equal(await attempts(resiliency.component('store', 'Statestore', 'outbound')), 2)
    assert.equal(resiliency.component('store', 'Statestore', 'inbound'), undefined)
    assert.equal(resiliency.component('bare', 'Statestore', 'outbound'), undefined)
    assert.equal(await attempts(resiliency.component('other', 'Statestore', 'outbound')), 5)
    assert.equal(await attempts(resiliency.component('third', 'Pubsub', 'outbound')), 3)
    assert.equal(resiliency.app('any', 'm')?.retries, true)
  })

  it('merge, the later name winning; a broken one keeps what came before its mistake', async () => {
    lines.length = 0
    const resiliency = await load(
      { policies: { retries: { r: { duration: '1ms', maxRetries: 1 } } }, targets: { components: { c: { outbound: { retry: 'r' } } } } },
      { policies: { retries: { r: { duration: '1ms', maxRetries: 3 }, bad: { duration: 'x' } } } },
    )
    assert.equal(await attempts(resiliency.component('c', 'Binding', 'outbound')), 4)
    assert.match(lines.join(''), /Could not read resiliency policy res1: retry bad: duration/)
  })

  it('keep one breaker for both directions of a component, and one a method for an app, bounded', async () => {
    const resiliency = await load({
      policies: { circuitBreakers: { cb: { trip: 'consecutiveFailures > 0' } } },
      targets: {
        components: { c: { outbound: { circuitBreaker: 'cb' }, inbound: { circuitBreaker: 'cb' } } },
        apps: { a: { circuitBreaker: 'cb', circuitBreakerCacheSize: 2 } },
      },
    })
    const outcome = (run: ReturnType<Resiliency['component']>) =>
      (run as NonNullable<typeof run>)(() => Promise.reject(new Error('down'))).catch((error: Error) => error.message)
    assert.equal(await outcome(resiliency.component('c', 'Pubsub', 'outbound')), 'down')
    assert.equal(await outcome(resiliency.component('c', 'Pubsub', 'inbound')), 'circuit breaker is open')
    for (const method of ['one', 'two', 'three']) assert.equal(await outcome(resiliency.app('a', method)?.runner), 'down')
    assert.equal(await outcome(resiliency.app('a', 'three')?.runner), 'circuit breaker is open')
    assert.equal(await outcome(resiliency.app('a', 'one')?.runner), 'down', 'the one unused longest was forgotten')
  })

  it('keep a built-in retry at three attempts or more, and never replace the protected one', async () => {
    lines.length = 0
    const resiliency = await load({
      policies: { retries: { DaprBuiltInServiceRetries: { duration: '2s', maxRetries: 1 }, DaprBuiltInActorNotFoundRetries: {} } },
    })
    assert.deepEqual([resiliency.builtInServiceRetry.duration, resiliency.builtInServiceRetry.maxRetries], [2000, 3])
    assert.match(lines.join(''), /did not meet minimum retry count.*protected policy DaprBuiltInActorNotFoundRetries/s)
  })
})

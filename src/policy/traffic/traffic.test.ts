import assert from 'node:assert/strict'
import { describe, it, test } from 'node:test'
import { OutriderError } from '../../errors.ts'
import { Buckets } from '../token-buckets.ts'
import { ConcurrencyLimit } from './concurrency-limit.ts'
import { createFault } from './fault.ts'
import { Hedging, race } from './hedging.ts'
import { Outliers } from './outliers.ts'
import { RetryBudget } from './retry-budget.ts'

/** Time that stands still until told. */
function clock() {
  let now = 0
  return {
    now: () => now,
    pass(milliseconds: number) {
      now += milliseconds
    },
  }
}

const times = <T>(count: number, work: () => T): T[] => Array.from({ length: count }, work)

describe('a retry budget', () => {
  it('allows a share of the calls of the window', () => {
    const { now, pass } = clock()
    const budget = new RetryBudget({ share: 0.2, minPerSecond: 0, window: 10_000 }, now)
    assert.equal(budget.take(), false)
    for (let i = 0; i < 20; i++) budget.call()
    assert.deepEqual(
      times(6, () => budget.take()),
      [true, true, true, true, false, false],
    )
    pass(5000)
    for (let i = 0; i < 5; i++) budget.call()
    assert.deepEqual([budget.take(), budget.take()], [true, false])
    // The first calls and their retries leave the window together.
    pass(5500)
    assert.equal(budget.take(), false)
    for (let i = 0; i < 5; i++) budget.call()
    assert.equal(budget.take(), true)
  })

  it('gives a few a second for nothing', () => {
    const { now, pass } = clock()
    const budget = new RetryBudget({ share: 0, minPerSecond: 2, window: 1000 }, now)
    assert.deepEqual(
      times(3, () => budget.take()),
      [true, true, false],
    )
    pass(1100)
    assert.deepEqual(
      times(3, () => budget.take()),
      [true, true, false],
    )
    pass(60_000)
    assert.equal(budget.take(), true)
  })

  it('bounds an outage to its share: 1000 failing calls cost 200 more', () => {
    const { now, pass } = clock()
    const budget = new RetryBudget({ share: 0.2, minPerSecond: 0, window: 10_000 }, now)
    let retries = 0
    for (let i = 0; i < 1000; i++) {
      pass(5)
      budget.call()
      for (let again = 0; again < 3; again++) if (budget.take()) retries++
    }
    assert.equal(retries, 200)
  })
})

describe('an adaptive limit', () => {
  const settings = { algorithm: 'aimd', initial: 10, min: 2, max: 12, latency: 100, tolerance: 1.5 } as const

  /** Fills the limit and ends all calls alike. */
  function round(limit: ConcurrencyLimit, took: number, overloaded = false) {
    let entered = 0
    while (limit.enter()) entered++
    for (let i = 0; i < entered; i++) limit.leave(took, overloaded)
    return entered
  }

  it('aimd: grows by one while it is used and well, up to its most, and falls by a tenth', () => {
    const limit = new ConcurrencyLimit(settings)
    assert.equal(round(limit, 50), 10)
    assert.equal(limit.limit, 12)
    limit.enter()
    limit.leave(500, false)
    assert.equal(limit.limit, 10)
    for (let i = 0; i < 40; i++) {
      limit.enter()
      limit.leave(undefined, true)
    }
    assert.equal(limit.limit, 2)
    assert.equal(limit.inFlight, 0)
  })

  it('aimd: does not grow while few places are used', () => {
    const limit = new ConcurrencyLimit(settings)
    for (let i = 0; i < 50; i++) {
      limit.enter()
      limit.leave(1, false)
    }
    assert.equal(limit.limit, 10)
  })

  it('gives places back whatever the call says', () => {
    const limit = new ConcurrencyLimit({ ...settings, initial: 2 })
    assert.deepEqual([limit.enter(), limit.enter(), limit.enter()], [true, true, false])
    limit.leave(undefined, false)
    assert.deepEqual([limit.enter(), limit.enter()], [true, false])
  })

  it('gradient: grows while latency is as usual and shrinks when it rises', () => {
    const limit = new ConcurrencyLimit({ ...settings, algorithm: 'gradient', initial: 20, max: 500 })
    for (let i = 0; i < 6; i++) round(limit, 10)
    const grown = limit.limit
    assert.ok(grown > 40, `grew to ${grown}`)
    for (let i = 0; i < 3; i++) round(limit, 200)
    assert.ok(limit.limit < grown / 2, `shrank to ${limit.limit}`)
  })

  it('gradient: finds the capacity of a server that queues', () => {
    const limit = new ConcurrencyLimit({ ...settings, algorithm: 'gradient', initial: 5, max: 1000, tolerance: 1.5 })
    // 50 calls at once take 10 ms; more wait for their turn.
    const rounds = times(400, () => {
      const places = limit.limit
      return round(limit, (10 * Math.max(places, 50)) / 50)
    })
    const last = rounds.slice(-200)
    assert.ok(Math.min(...last) >= 30 && Math.max(...last) <= 130, `${Math.min(...last)} to ${Math.max(...last)}`)
  })
})

describe('ejection of outliers', () => {
  const settings = { consecutiveFailures: 3, baseTime: 1000, maxTime: 4000, maxShare: 0.5 }
  const out: [string, number][] = []

  function outliers(now: () => number, known = 4) {
    out.length = 0
    const made = new Outliers(settings, (address, time) => out.push([address, time]), now)
    const usable = (address: string) => made.usable(address, known)
    const call = (address: string, failed: boolean | undefined) => {
      made.end(address, failed, made.begin(address))
    }
    for (const address of ['a', 'b', 'c', 'd']) usable(address)
    return { made, usable, call }
  }

  it('puts an address out after failures in a row, and lets one call probe it', () => {
    const { now, pass } = clock()
    const { made, usable, call } = outliers(now)
    for (const failed of [true, true, false, true, true, undefined]) call('a', failed)
    assert.equal(usable('a'), true)
    call('a', true)
    assert.equal(usable('a'), false)
    assert.deepEqual(out, [['a', 1000]])
    pass(1000)
    assert.equal(usable('a'), true)
    assert.equal(made.begin('a'), true)
    assert.equal(usable('a'), false)
    // What was under way all the while does not speak for the probe.
    made.end('a', true, false)
    made.end('a', false, true)
    assert.equal(usable('a'), true)
  })

  it('doubles the time while probes fail, up to its most, and halves it as calls succeed', () => {
    const { now, pass } = clock()
    const { call } = outliers(now)
    for (let i = 0; i < 3; i++) call('a', true)
    for (const wait of [1000, 2000, 4000, 4000]) {
      pass(wait)
      call('a', true)
    }
    assert.deepEqual(
      out.map(([, time]) => time),
      [1000, 2000, 4000, 4000, 4000],
    )
    pass(4000)
    call('a', false)
    for (let i = 0; i < 4; i++) call('a', false)
    for (let i = 0; i < 3; i++) call('a', true)
    assert.deepEqual(out.at(-1), ['a', 2000])
  })

  it('never puts out more than its share, nor what failed before it was out', () => {
    const { now } = clock()
    const { made, usable, call } = outliers(now)
    for (const address of ['a', 'b', 'c', 'd']) for (let i = 0; i < 5; i++) call(address, true)
    assert.deepEqual(['a', 'b', 'c', 'd'].map(usable), [false, false, true, true])
    assert.equal(out.length, 2)
    made.end('a', true, false)
    assert.equal(out.length, 2)
  })

  it('keeps nothing of an address that is well', () => {
    const { now, pass } = clock()
    const { call, usable } = outliers(now)
    for (let i = 0; i < 3; i++) call('a', true)
    pass(1000)
    call('a', false)
    call('a', false)
    for (let i = 0; i < 3; i++) call('a', true)
    assert.deepEqual(out, [
      ['a', 1000],
      ['a', 1000],
    ])
    assert.equal(usable('b'), true)
  })
})

describe('hedging', () => {
  const settings = { delay: 5, percentile: undefined, maxAttempts: 3, methods: ['GET'] }

  it('waits its delay, or what the share of the last calls took once enough are measured', () => {
    const plain = new Hedging(settings)
    plain.answered(1000)
    assert.deepEqual([plain.delay, plain.covers('GET'), plain.covers('POST'), plain.covers('')], [5, true, false, false])
    const learning = new Hedging({ ...settings, percentile: 0.9 })
    for (let i = 1; i < 20; i++) learning.answered(i)
    assert.equal(learning.delay, 5)
    learning.answered(20)
    assert.equal(learning.delay, 19)
    for (let i = 0; i < 300; i++) learning.answered(7)
    assert.equal(learning.delay, 7)
  })

  it('takes the first good answer and gives the others up', async () => {
    const given: string[] = []
    let begun = 0
    await race(
      new Hedging(settings),
      (signal, onAnswer) => {
        const mine = ++begun
        return new Promise((resolve, reject) => {
          signal.addEventListener('abort', () => {
            given.push(`${mine}: ${signal.reason.message}`)
            reject(signal.reason)
          })
          if (mine !== 2) return
          onAnswer()
          resolve()
        })
      },
      undefined,
    )
    assert.deepEqual(given, ['1: another request was answered first'])
    assert.equal(begun, 2)
  })

  it('fails with the last one, and asks before each further request', async () => {
    let begun = 0
    const fail = async () => {
      begun++
      throw new Error('no')
    }
    await assert.rejects(race(new Hedging(settings), fail, undefined), /no/)
    assert.equal(begun, 1)
    const asked: number[] = []
    let end: () => void = () => {}
    const refused = new Promise<void>((resolve) => {
      end = resolve
    })
    const hedging = new Hedging(settings, () => {
      asked.push(begun)
      end()
      return false
    })
    begun = 0
    await race(
      hedging,
      async () => {
        begun++
        await refused
      },
      undefined,
    )
    assert.deepEqual([begun, asked], [1, [1]])
  })

  it('gives all of them up with the call', async () => {
    const whole = new AbortController()
    let under = 0
    const running = race(
      new Hedging(settings),
      (signal) =>
        new Promise((_, reject) => {
          under++
          signal.addEventListener('abort', () => reject(signal.reason))
          if (under === 3) whole.abort(new Error('gone'))
        }),
      whole.signal,
    )
    await assert.rejects(running, /gone/)
    assert.equal(under, 3)
  })
})

test('a bucket says how long until it has a token again', () => {
  const buckets = new Buckets(4, 1)
  assert.deepEqual([buckets.take('a', 0), buckets.take('a', 100), buckets.wait('a')], [true, false, 150])
})

test('faults hit by chance, in the order delay, abort, error', async () => {
  const acted: string[] = []
  // A roll for each that may still act: the delay, then the abort, then the error.
  const chances = [0.05, 0.5, 0.5, 0.5, 0.15, 0.5, 0.5, 0.05]
  const fault = createFault(
    { name: 'chaos', delay: { share: 0.1, time: 1 }, abort: { share: 0.2 }, error: { share: 0.1, http: 502, grpc: 13 } },
    (action) => acted.push(action),
    () => chances.shift() as number,
  )
  assert.equal(await fault(async () => 'well'), 'well')
  await assert.rejects(
    fault(async () => 'well'),
    { name: 'GrpcStatus', code: 14 },
  )
  await assert.rejects(
    fault(async () => 'well'),
    (error) => error instanceof OutriderError && error.http === 502 && error.grpc === 13 && error.code === 'ERR_FAULT_INJECTED',
  )
  assert.deepEqual(acted, ['delay', 'abort', 'error'])
  assert.deepEqual(chances, [])
})

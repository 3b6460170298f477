import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLogger } from '../../../telemetry/log.ts'
import { driver } from './driver.ts'
import { type BreakerRule, breakerGuard, flowGuard, type Guard, isolationGuard } from './rules.ts'

const log = createLogger({ level: 'error', json: false, appId: 'a', version: 'test', write: () => {} })

function pass(guard: Guard, now: number, took = 0, failed = false): boolean {
  if (!guard.allows(now)) return false
  guard.enter(now)
  guard.leave(now + took, took, failed)
  return true
}

test('a flow rule lets so many pass in its time', () => {
  const guard = flowGuard({ resource: 'r', threshold: 3, interval: 1000 })
  assert.deepEqual(
    [0, 100, 600, 700, 999].map((now) => pass(guard, now)),
    [true, true, true, false, false],
  )
  // The first two have left the window, the third has not.
  assert.deepEqual(
    [1000, 1100, 1200, 1600].map((now) => pass(guard, now)),
    [true, true, false, true],
  )
  assert.equal(pass(flowGuard({ resource: 'r', threshold: 0, interval: 1000 }), 0), false)
})

test('an isolation rule counts what is under way', () => {
  const guard = isolationGuard({ resource: 'r', threshold: 2 })
  guard.enter(0)
  assert.equal(guard.allows(0), true)
  guard.enter(0)
  assert.equal(guard.allows(0), false)
  guard.leave(0, 0, true)
  assert.equal(guard.allows(0), true)
})

const rule: BreakerRule = {
  resource: 'r',
  strategy: 'slow',
  retryTimeout: 500,
  minRequests: 4,
  interval: 1000,
  maxAllowed: 50,
  threshold: 0.5,
  probes: 1,
}

test('a breaker opens by the share of slow requests, tries one after its time, and closes by it', () => {
  const guard = breakerGuard(rule)
  for (const took of [10, 60, 50]) assert.equal(pass(guard, 0, took), true)
  assert.equal(pass(guard, 0, 70), true)
  assert.deepEqual([pass(guard, 100), pass(guard, 569)], [false, false])
  assert.equal(guard.allows(570), true)
  guard.enter(570)
  assert.equal(guard.allows(571), false, 'one at a time')
  guard.leave(700, 130, false)
  assert.equal(pass(guard, 1100), false, 'a slow probe opens it again')
  assert.equal(pass(guard, 1200, 5), true)
  for (let i = 0; i < 3; i++) assert.equal(pass(guard, 1210, 60), true, 'it begins anew')
})

test('a breaker opens by the share or the number of errors', () => {
  const share = breakerGuard({ ...rule, strategy: 'errorRatio' })
  for (const failed of [true, false, false, true]) pass(share, 0, 0, failed)
  assert.equal(share.allows(1), false)
  const number = breakerGuard({ ...rule, strategy: 'errorCount', threshold: 2, probes: 2 })
  for (const failed of [true, false, false, false, true]) assert.equal(pass(number, 0, 0, failed), true)
  assert.equal(number.allows(1), false)
  assert.deepEqual([pass(number, 500), pass(number, 501)], [true, true])
  assert.equal(number.allows(502), true)
  const old = breakerGuard({ ...rule, strategy: 'errorCount', threshold: 2 })
  pass(old, 0, 0, true)
  for (const now of [2000, 2001, 2002]) assert.equal(pass(old, now, 0, now === 2000), true)
  assert.equal(old.allows(2003), true, 'errors of long ago do not count')
})

test('rules are read by resource; what is not supported is refused by name', () => {
  const make = (properties: Record<string, string>) =>
    driver.create({ name: 's', type: 'middleware.http.sentinel', version: 'v1', properties, appId: 'a', namespace: '', log })
  const made = make({ flowRules: '[{"resource": "GET:/a b", "threshold": 1}]', hotSpotParamRules: '[]' })
  const ended: ((status: number) => void)[] = []
  const asking = (method: string, path: string) =>
    made.handle({
      method,
      path,
      query: '',
      remoteAddress: undefined,
      header: () => undefined,
      setHeader() {},
      readBody: async () => Buffer.from(''),
      mapBody() {},
      mapReply() {},
      onEnd: (done) => void ended.push(done),
    })
  assert.deepEqual(
    [asking('GET', '/a%20b'), asking('POST', '/a%20b'), asking('GET', '/a%20b')],
    [undefined, undefined, { status: 429, body: 'Too Many Requests' }],
  )
  assert.equal(ended.length, 1)
  const wrong: [Record<string, string>, RegExp][] = [
    [{ flowRules: '{' }, /flowRules: not valid JSON/],
    [{ flowRules: '[{"threshold": 1}]' }, /flowRules: rule 1 names no resource/],
    [{ flowRules: '[{"resource": "r", "threshold": -1}]' }, /flowRules: rule 1 \(r\): threshold must be a number from 0/],
    [
      { flowRules: '[{"resource": "r", "threshold": 1, "controlBehavior": 1}]' },
      /rule 1 \(r\): controlBehavior 1 is not supported, only 0, reject/,
    ],
    [
      { circuitBreakerRules: '[{"resource": "r", "threshold": 1, "strategy": 7}]' },
      /circuitBreakerRules: rule 1 \(r\): strategy must be 0, 1 or 2/,
    ],
    [{ systemRules: '[{"metricType": 3}]' }, /not supported: metadata field systemRules of component s; protect the app/],
  ]
  for (const [properties, message] of wrong) assert.throws(() => make(properties), message)
})

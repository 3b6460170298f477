import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLogger } from '../telemetry/log.ts'
import { Lifecycle } from './lifecycle.ts'
import { lifecycleMetrics } from './lifecycle-report.ts'
import { ReloadRecord } from './reload-record.ts'

function setUp() {
  const lines: Record<string, unknown>[] = []
  const log = createLogger({ level: 'info', json: true, appId: 'a', version: 'v', write: (line) => lines.push(JSON.parse(line)) })
  return { lifecycle: new Lifecycle({ appId: 'a', log }), lines }
}

test('ready and degraded follow the parts and the reasons; each transition is one structured line', () => {
  const { lifecycle, lines } = setUp()
  lifecycle.part('component', 'store', 'state.redis', 'initialising')
  assert.equal(lifecycle.state, 'starting')
  const nextAttempt = new Date(0)
  lifecycle.part('component', 'store', 'state.redis', 'retrying', { error: new Error('away'), nextAttempt })
  lifecycle.started()
  assert.equal(lifecycle.state, 'degraded')
  assert.deepEqual(lifecycle.reasons(), ['component store (state.redis) is retrying: away; next attempt 1970-01-01T00:00:00.000Z'])
  const before = lines.length
  lifecycle.part('component', 'store', 'state.redis', 'retrying', { error: new Error('still away'), nextAttempt })
  assert.equal(lines.length, before, 'another attempt is no transition')
  lifecycle.reason('app', 'the app is unwell')
  lifecycle.part('component', 'store', 'state.redis', 'up')
  assert.equal(lifecycle.state, 'degraded')
  lifecycle.reason('app', undefined)
  assert.equal(lifecycle.state, 'ready')
  lifecycle.draining()
  lifecycle.reason('app', 'gone')
  assert.equal(lifecycle.state, 'draining', 'nothing leads back from draining')
  lifecycle.started()
  lifecycle.stopped()
  assert.deepEqual(
    lines.map(({ event, kind, name, from, to }) => [event, kind, name, from, to].join(' ')),
    [
      'lifecycle component store  initialising',
      'lifecycle component store initialising retrying',
      'lifecycle sidecar a starting degraded',
      'lifecycle component store retrying up',
      'lifecycle sidecar a degraded ready',
      'lifecycle sidecar a ready draining',
      'lifecycle sidecar a draining stopped',
    ],
  )
})

test('a part that is forgotten degrades nobody', () => {
  const { lifecycle } = setUp()
  lifecycle.started()
  lifecycle.part('binding', 'cron', 'bindings.cron', 'failed', { error: new Error('no') })
  assert.equal(lifecycle.state, 'degraded')
  lifecycle.forget('binding', 'cron')
  assert.equal(lifecycle.state, 'ready')
  assert.deepEqual(lifecycle.parts(), [])
})

test('the series tell states, transitions and reloads', () => {
  const { lifecycle } = setUp()
  const record = new ReloadRecord()
  lifecycle.part('subscription', 'pubsub/a"b', 'declarative', 'up')
  lifecycle.started()
  record.count('Component', 'add', 'success')
  record.count('Component', 'change', 'failure')
  const text = lifecycleMetrics(lifecycle, record)
  for (const line of [
    '# TYPE outrider_sidecar_state gauge',
    'outrider_sidecar_state{app_id="a",state="ready"} 1',
    'outrider_sidecar_state{app_id="a",state="degraded"} 0',
    'outrider_part_state{app_id="a",kind="subscription",name="pubsub/a\\"b",state="up"} 1',
    'outrider_transitions_total{app_id="a",kind="sidecar",to="ready"} 1',
    'outrider_reloads_total{app_id="a",kind="Component",action="change",result="failure"} 1',
  ])
    assert.ok(text.split('\n').includes(line), `${line} is missing in\n${text}`)
})

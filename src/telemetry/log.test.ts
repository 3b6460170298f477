import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLogger } from './log.ts'

function lines(json: boolean) {
  const written: string[] = []
  const log = createLogger({ level: 'info', json, appId: 'my app', version: '1', write: (line) => void written.push(line) })
  return { log: log.scope('dapr.test'), written }
}

test('fields stand among the members of a text line by name, quoted where needed', () => {
  const { log, written } = lines(false)
  log.info('gRPC API Called', { method: '/a.B/C', useragent: 'x y', code: 0, duration: 3 })
  log.info('plain')
  assert.match(
    written[0] as string,
    /^time="[^"]+" level=info msg="gRPC API Called" app_id="my app" code=0 duration=3 instance=\S+ method=\/a\.B\/C scope=dapr\.test type=log useragent="x y" ver=1$/,
  )
  assert.match(written[1] as string, /^time="[^"]+" level=info msg=plain app_id="my app" instance=\S+ scope=dapr\.test type=log ver=1$/)
})

test('fields are members of a JSON line, numbers as numbers', () => {
  const { log, written } = lines(true)
  log.info('called', { method: '/a.B/C', code: 5 })
  const { time, instance, ...rest } = JSON.parse(written[0] as string) as Record<string, unknown>
  assert.ok(time && instance)
  assert.deepEqual(rest, {
    app_id: 'my app',
    level: 'info',
    msg: 'called',
    scope: 'dapr.test',
    type: 'log',
    ver: '1',
    code: 5,
    method: '/a.B/C',
  })
})

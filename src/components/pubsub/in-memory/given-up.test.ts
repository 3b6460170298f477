import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GivenUpError } from '../../../blocks/pubsub/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { driver } from './driver.ts'

test('a message that a policy has given up on does not come again; another failure does', async () => {
  const log = createLogger({ level: 'error', json: false, appId: 'a', version: 'test', write: () => {} })
  const broker = driver.create({
    name: 'p',
    type: 'pubsub.in-memory',
    version: 'v1',
    properties: { redeliverInterval: '1ms' },
    appId: 'a',
    namespace: '',
    log,
  })
  const seen: string[] = []
  const both = Promise.withResolvers<void>()
  await broker.subscribe('t', {}, async ({ data }) => {
    seen.push(data.toString())
    if (seen.length === 3) both.resolve()
    throw seen.length === 3
      ? new GivenUpError('enough')
      : seen[0] === 'policed' && seen.length === 1
        ? new GivenUpError('x')
        : new Error('again')
  })
  await broker.publish({ topic: 't', data: Buffer.from('policed'), metadata: {} })
  await broker.publish({ topic: 't', data: Buffer.from('plain'), metadata: {} })
  await both.promise
  assert.deepEqual(seen, ['policed', 'plain', 'plain'])
  await broker[Symbol.asyncDispose]()
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AppChannel, AppRequest } from '../../app/channel.ts'
import { createLogger } from '../../telemetry/log.ts'
import { createConfigurationBlock } from './block.ts'
import type { ConfigurationItem, ConfigurationStore } from './driver.ts'
import { createUpdateQueue } from './update-queue.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'app', version: 'test' })
const item = (value: string): ConfigurationItem => ({ value, version: '1', metadata: {} })

function store() {
  const watchers = new Set<(items: Record<string, ConfigurationItem>) => Promise<void>>()
  const component: ConfigurationStore = {
    init: async () => {},
    get: async () => ({}),
    async subscribe(_keys, _metadata, onChange) {
      watchers.add(onChange)
      return {
        async [Symbol.asyncDispose]() {
          watchers.delete(onChange)
        },
      }
    },
    [Symbol.asyncDispose]: async () => {},
  }
  return { watchers, stores: new Map([['s', { name: 's', type: 't', version: 'v1', component, properties: {} }]]) }
}

test('the app gets each changed key on its own path, with the whole event', async () => {
  const { watchers, stores } = store()
  const seen: AppRequest[] = []
  const { promise: both, resolve } = Promise.withResolvers<void>()
  const call: AppChannel['call'] = async (request) => {
    if (seen.push(request) === 2) resolve()
    return { status: 200, headers: {}, body: Buffer.alloc(0) }
  }
  const block = createConfigurationBlock({
    stores,
    app: { call, request: () => Promise.reject(new Error('unused')), ready: async () => {} },
    log,
  })
  const id = await block.subscribe('s', [], {})
  for (const watcher of watchers) await watcher({ a: item('1'), 'b/c': item('') })
  await both
  assert.deepEqual(
    seen.map((request) => `${request.method} ${request.path}`),
    ['POST /configuration/s/a', 'POST /configuration/s/b%2Fc'],
  )
  for (const request of seen)
    assert.deepEqual(JSON.parse(String(request.body)), { id, items: { a: { value: '1', version: '1' }, 'b/c': { version: '1' } } })
  assert.equal(await block.unsubscribe('s', 'other'), false)
  assert.equal(await block.unsubscribe('s', id), true)
  assert.equal(watchers.size, 0)
})

test('subscribing needs an app, and stops at the limit', async () => {
  const { stores } = store()
  const block = createConfigurationBlock({ stores, log, maxSubscriptions: 1 })
  await assert.rejects(block.subscribe('s', ['a'], {}), { code: 'ERR_APP_CHANNEL_NIL', http: 500 })
  await block.subscribe('s', ['a'], {}, { update: async () => {} })
  await assert.rejects(block.subscribe('s', ['a', 'b'], {}, { update: async () => {} }), {
    code: 'ERR_CONFIGURATION_SUBSCRIBE',
    message: /^failed to subscribe \[a b\] from Configuration store s: /,
  })
  await block.stop()
})

test('behind a slow subscriber updates merge at the bound, the latest value is kept', async () => {
  const got: Record<string, ConfigurationItem>[] = []
  const { promise: gate, resolve: open } = Promise.withResolvers<void>()
  const { promise: done, resolve: finish } = Promise.withResolvers<void>()
  const queue = createUpdateQueue(
    async (items) => {
      await gate
      got.push(items)
      if (items.a?.value === '499') finish()
    },
    () => {},
  )
  for (let i = 0; i < 500; i++) queue.push({ a: item(String(i)) })
  open()
  await done
  assert.equal(got.length, 101, 'one under way and a hundred waiting')
})

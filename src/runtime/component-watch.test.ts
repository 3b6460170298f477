import assert from 'node:assert/strict'
import { test } from 'node:test'
import { redis, startRedis } from '../../test/servers/redis.ts'
import { ownServer } from '../../test/servers/server.ts'
import type { StateStore } from '../blocks/state/driver.ts'
import { createLogger } from '../telemetry/log.ts'
import { ComponentManager } from './component-manager.ts'
import { watchComponents } from './component-watch.ts'
import { Lifecycle } from './lifecycle.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'a', version: '0', write: () => {} })

test('one missed answer says nothing, a second one that the server is lost, the next answer that it is back', async () => {
  const answers = ['ok', 'no', 'ok', 'no', 'no', 'no', 'ok']
  const heard: string[] = []
  const stop = new AbortController()
  const component = {
    init: async () => {},
    ping: async () => {
      const answer = answers.shift()
      heard.push(answer ?? 'end')
      if (answer === undefined) stop.abort()
      if (answer !== 'ok') throw new Error('gone')
    },
    [Symbol.asyncDispose]: async () => {},
  }
  const watched = { name: 'c', component, lost: false }
  await watchComponents({
    running: () => [{ ...watched }],
    lost: (_, error) => {
      watched.lost = true
      heard.push(`lost: ${(error as Error).message}`)
    },
    back: () => {
      watched.lost = false
      heard.push('back')
    },
    signal: stop.signal,
    interval: 10,
    lostInterval: 2,
  })
  assert.deepEqual(heard, ['ok', 'no', 'ok', 'no', 'no', 'lost: gone', 'no', 'lost: gone', 'ok', 'back', 'end'])
})

test('a store whose server dies shows as retrying, can be used still, and is up again with its server', async (t) => {
  const server = await ownServer(redis)
  if (!server) return t.skip('Redis is not on this machine')
  const lifecycle = new Lifecycle({ appId: 'a', log })
  const manager = new ComponentManager({ appId: 'a', namespace: '', log, lifecycle, retryUnreachable: true })
  t.after(() => manager.close())
  const properties = { redisHost: server.address, dialTimeout: '200ms', readTimeout: '200ms' }
  await manager.add({ name: 'store', type: 'state.redis', version: 'v1', ignoreErrors: false, initTimeoutMs: 5000, properties })
  lifecycle.started()
  manager.watch({ interval: 40, lostInterval: 20 })
  const until = async (state: string) => {
    while (manager.statuses()[0]?.state !== state) await new Promise((resolve) => setTimeout(resolve, 10))
  }
  await server.stop()
  await until('retrying')
  assert.equal(lifecycle.state, 'degraded')
  assert.match(lifecycle.reasons()[0] ?? '', /component store \(state\.redis\) is retrying/)
  assert.equal(manager.statuses()[0]?.loaded, true)
  assert.ok(manager.set<StateStore>('state').has('store'))
  const again = await startRedis(Number(server.address.split(':')[1]))
  t.after(() => again.stop())
  await until('up')
  assert.equal(lifecycle.state, 'ready')
  assert.deepEqual(lifecycle.reasons(), [])
})

import assert from 'node:assert/strict'
import { it, type TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { redisCluster, redisSentinel, redisTls } from '../../../../test/servers/redis-topologies.ts'
import type { StateSet, StateStore } from '../../../blocks/state/driver.ts'
import { listsKeys } from '../../../blocks/state/keys.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { slotOf } from '../../redis/slot.ts'
import { driver } from './driver.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const upsert = (key: string, value: string, etag?: string): StateSet => ({
  kind: 'upsert',
  key,
  value: Buffer.from(value),
  json: true,
  etag,
  metadata: {},
})
const text = async (store: StateStore, key: string) => (await store.get({ key, metadata: {} }))?.data.toString()

function make(properties: Record<string, string>): StateStore {
  return driver.create({ name: 'orders', type: 'state.redis', version: 'v1', properties, appId: 'test', namespace: '', log })
}

/** Runs the test with the server that `start` gives, or skips it by name. */
function withServer<T extends { stop(): Promise<void> }>(start: () => Promise<T | undefined>, body: (server: T) => Promise<void>) {
  return async (context: TestContext) => {
    const server = await start()
    if (!server) return context.skip('no redis-server on this machine')
    try {
      await body(server)
    } finally {
      await server.stop()
    }
  }
}

it('slots are those of Redis', () => {
  assert.deepEqual(['123456789', 'foo', '{user}.a', '{}x', ''].map(slotOf), [12739, 12182, slotOf('user'), slotOf('{}x'), 0])
})

it(
  'state.redis keeps keys all over a cluster, and finds them',
  { timeout: 60_000 },
  withServer(redisCluster, async (server) => {
    await using store = make({ redisHost: server.address, redisType: 'cluster' })
    await store.init(AbortSignal.timeout(20_000))
    const keys = Array.from({ length: 100 }, (_, index) => `key-${index}`)
    await Promise.all(keys.map((key, index) => store.set(upsert(key, String(index)))))
    for (const [index, key] of keys.entries()) assert.equal(await text(store, key), String(index))
    assert.deepEqual((await listsKeys(store)?.keysLike('key-%', {}))?.keys.length, 100)

    const spread = ['one', 'two', 'three']
    assert.equal(new Set(spread.map(slotOf)).size, 3)
    await store.transact?.(
      spread.map((key) => upsert(key, '1')),
      {},
    )
    for (const key of spread) assert.equal(await text(store, key), '1')
    for (const stale of spread) {
      const operations = spread.map((key) => upsert(key, '2', key === stale ? '9999999' : undefined))
      await assert.rejects(Promise.resolve(store.transact?.(operations, {})))
      for (const key of spread) assert.equal(await text(store, key), '1', `${key}, with a stale ETag for ${stale}`)
    }
  }),
)

it(
  'state.redis follows the master that sentinels name, and is back after a failover without a restart',
  { timeout: 60_000 },
  withServer(redisSentinel, async (group) => {
    await using store = make({ redisHost: group.address, failover: 'true', sentinelMasterName: group.master })
    await store.init(AbortSignal.timeout(20_000))
    await store.set({ ...upsert('before', '1'), consistency: 'strong' })
    await group.killMaster()
    const began = Date.now()
    for (;;) {
      const asked = Date.now()
      const done = await store.set(upsert('after', '2')).then(
        () => true,
        (error: Error) => {
          assert.ok(Date.now() - asked < 10_000, 'a bounded wait')
          assert.match(error.message, /redis|127\.0\.0\.1|closed|read only|readonly|retries/i)
          return false
        },
      )
      if (done) break
      assert.ok(Date.now() - began < 30_000, 'never came back')
      await pause(50)
    }
    assert.equal(await text(store, 'before'), '1')
    assert.equal(await text(store, 'after'), '2')
  }),
)

it(
  'state.redis speaks TLS with a client certificate, and refuses a server that nobody it trusts has signed',
  { timeout: 60_000 },
  withServer(redisTls, async (server) => {
    const { clientCert, clientKey } = server
    const properties = { redisHost: server.address, enableTLS: 'true', clientCert, clientKey, redisMaxRetries: '-1' }
    {
      await using store = make(properties)
      await assert.rejects(store.init(AbortSignal.timeout(20_000)), /localhost:\d+.*(self-signed|issuer|verify|certificate)/i)
    }
    {
      await using store = make({ ...properties, insecureSkipTLSVerify: 'true' })
      await store.init(AbortSignal.timeout(20_000))
      await store.set(upsert('tls', '1'))
    }
    {
      await using store = make({ ...properties, clientCert: '', clientKey: '', insecureSkipTLSVerify: 'true' })
      await assert.rejects(store.init(AbortSignal.timeout(20_000)), /localhost:\d+/)
    }
    {
      await using store = make({ redisHost: server.address, redisMaxRetries: '-1' })
      await assert.rejects(store.init(AbortSignal.timeout(20_000)), /localhost:\d+/)
    }
    const trusted = getCACertificates('default')
    setDefaultCACertificates([...trusted, server.ca])
    try {
      await using store = make(properties)
      await store.init(AbortSignal.timeout(20_000))
      assert.equal(await text(store, 'tls'), '1')
    } finally {
      setDefaultCACertificates(trusted)
    }
  }),
)

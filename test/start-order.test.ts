import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { freePort } from './servers/process.ts'
import { redis, startRedis } from './servers/redis.ts'
import { becomesReady, startApp, startSidecar } from './sidecar.ts'

// App, sidecar and infrastructure come up in any order, and end up working without anybody's help.
const root = mkdtempSync(join(tmpdir(), 'outrider-order-'))
after(() => rmSync(root, { recursive: true, force: true }))

type Who = 'app' | 'sidecar' | 'redis'
const orders: readonly (readonly Who[])[] = [
  ['app', 'sidecar', 'redis'],
  ['app', 'redis', 'sidecar'],
  ['sidecar', 'app', 'redis'],
  ['sidecar', 'redis', 'app'],
  ['redis', 'app', 'sidecar'],
  ['redis', 'sidecar', 'app'],
]

for (const order of orders) {
  test(`${order.join(', then ')}: ready, and events arrive`, { timeout: 30_000 }, async (t) => {
    if (!redis.available()) return t.skip('redis-server is not on this machine')
    const dataDir = join(root, order.join('-'))
    const resources = join(dataDir, 'resources')
    mkdirSync(resources, { recursive: true })
    const [appPort, redisPort] = [await freePort(), await freePort()]
    const component = (name: string, type: string) =>
      `apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {name: ${name}}\nspec:\n  type: ${type}\n  version: v1\n  metadata:\n  - {name: redisHost, value: "127.0.0.1:${redisPort}"}\n`
    writeFileSync(join(resources, 'all.yaml'), `${component('pubsub', 'pubsub.redis')}---\n${component('store', 'state.redis')}`)
    await using things = new AsyncDisposableStack()
    let heard: ((route: string, count: number) => Promise<number>) | undefined
    let http = ''
    for (const who of order) {
      if (who === 'redis') {
        const server = await startRedis(redisPort)
        things.defer(() => server.stop())
      } else if (who === 'app') heard = things.use(await startApp({ orders: '/orders' }, { port: appPort })).heard
      else http = things.use(await startSidecar({ dataDir, resources, appPort, readyAt: '/v1.0/healthz/outbound' })).http
    }
    const began = performance.now()
    assert.ok(await becomesReady(`${http}/v1.0/healthz`))
    t.diagnostic(`ready ${Math.round(performance.now() - began)} ms after the last of them`)
    const post = (path: string, body: unknown) =>
      fetch(http + path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
    assert.equal((await post('/v1.0/state/store', [{ key: 'a', value: 1 }])).status, 204)
    assert.equal((await post('/v1.0/publish/pubsub/orders', 'event')).status, 204)
    await heard?.('/orders', 1)
    const { state, parts } = (await (await fetch(`${http}/v1.0/healthz?verbose`)).json()) as { state: string; parts: { state: string }[] }
    assert.equal(state, 'ready')
    assert.deepEqual(new Set(parts.map((part) => part.state)), new Set(['up']))
    assert.equal(parts.length, 3)
  })
}

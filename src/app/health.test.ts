import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { AppHealth } from './health.ts'
import { createHttpChannel } from './http-channel.ts'

test('the app is healthy after its first 2xx, and unhealthy after as many failures as the threshold says', async () => {
  const statuses = [503, 200, 500, 200, 500, 500, 200]
  let probes = 0
  const server = createServer((_, response) => {
    response.statusCode = statuses[Math.min(probes++, statuses.length - 1)] as number
    response.end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const app = createHttpChannel({ port: (server.address() as AddressInfo).port })
  const stop = new AbortController()
  const seen: [healthy: boolean, probes: number][] = []
  const health = new AppHealth({
    probe: async (signal) => (await app.call({ method: 'GET', path: '/healthz', headers: {}, signal })).status === 200,
    interval: 1,
    timeout: 1000,
    threshold: 2,
    signal: stop.signal,
    onChange: async (healthy) => {
      seen.push([healthy, probes])
      if (seen.length === 3) stop.abort()
    },
  })
  await health.run()
  assert.deepEqual(seen, [
    [true, 2],
    [false, 6],
    [true, 7],
  ])
  await app[Symbol.asyncDispose]()
  server.close()
})

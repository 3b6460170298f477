import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { startAgent } from '../../src/agent/testing/program.ts'
import { serveForTest } from '../../src/agent/testing/role-context.ts'
import { freePort } from '../../test/servers/process.ts'

test('StatsD and the page of the app go to Prometheus and to OTLP', { timeout: 60_000 }, async (t) => {
  await using app = await serveForTest(() => ({ body: '# TYPE orders_total counter\norders_total 3\n' }))
  let heard: (body: string) => void = () => {}
  const exported = new Promise<string>((resolve) => {
    heard = resolve
  })
  await using collector = await serveForTest(({ body }) => {
    if (body.includes('shop_request_seconds') && body.includes('orders_total')) heard(body)
    return { body: '{}' }
  })
  const folder = mkdtempSync(join(tmpdir(), 'outrider-example-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const port = await freePort()
  const yaml = readFileSync(join(import.meta.dirname, 'agent/metrics.yaml'), 'utf8')
    .replaceAll('127.0.0.1:8125', `127.0.0.1:${port}`)
    .replace('http://127.0.0.1:8080', app.url)
    .replace('http://127.0.0.1:4318', `${collector.url}\n      interval: 50ms`)
  writeFileSync(join(folder, 'metrics.yaml'), yaml)
  await using agent = await startAgent(folder)
  const socket = createSocket('udp4')
  await new Promise((resolve) => socket.send('shop.get.orders.time:12|ms', port, '127.0.0.1', resolve))
  socket.close()
  await exported
  const page = await (await fetch(`${agent.url}/metrics`, { headers: { accept: 'text/plain' } })).text()
  assert.match(page, /^shop_request_seconds_sum\{method="get",route="orders"\} 0\.012$/m)
  const json = (await (await fetch(`${agent.url}/metrics`)).json()) as Record<string, Record<string, unknown>>
  assert.deepEqual(json.timers?.['shop_request_seconds{method="get",route="orders"}'], { count: 1, sum: 0.012 })
})

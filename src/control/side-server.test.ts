import assert from 'node:assert/strict'
import { test } from 'node:test'
import { freePort } from '../../test/servers/process.ts'
import { createLogger } from '../telemetry/log.ts'
import { openSideServer } from './side-server.ts'

test('health, and the page of metrics as scrapers ask for it', async () => {
  const log = createLogger({ level: 'error', json: false, appId: 'control', version: 'test' })
  const [health, metrics] = [await freePort(), await freePort()]
  let missing = ['a certificate']
  await using _servers = await openSideServer({
    healthz: { host: '127.0.0.1', port: health },
    metrics: { host: '127.0.0.1', port: metrics, text: () => '# HELP a_total A.\n# TYPE a_total counter\na_total 1\n' },
    missing: () => missing,
    log,
  })
  assert.equal((await fetch(`http://127.0.0.1:${health}/healthz`)).status, 500)
  missing = []
  assert.equal(await (await fetch(`http://127.0.0.1:${health}/healthz`)).text(), 'ok')
  assert.match(
    await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text(),
    /^# HELP a_total A\.\n# TYPE a_total counter\na_total 1\n/,
  )
  const open = await fetch(`http://127.0.0.1:${metrics}/metrics`, { headers: { accept: 'application/openmetrics-text' } })
  assert.match(await open.text(), /# TYPE a counter\na_total 1\n[\s\S]*# EOF\n$/)
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Metrics } from './metrics.ts'
import { metricsPage } from './open-metrics.ts'

function counted(paths: number): Metrics {
  const metrics = new Metrics({
    appId: 'shop',
    namespace: 'default',
    http: { increasedCardinality: true, pathMatching: [], excludeVerbs: false },
    rules: [],
  })
  for (let path = 0; path < paths; path++) metrics.http.served('GET', `/v1.0/invoke/shop/method/${path}`, 200, 1, 1, path)
  return metrics
}

test('a scrape of 5,000 series takes at most 20 ms', async () => {
  const metrics = counted(200)
  const series = (await Array.fromAsync(metricsPage(metrics.parts(), undefined).body)).join('').match(/^dapr_/gm)?.length ?? 0
  assert.ok(series >= 5000, String(series))
  const took: number[] = []
  for (let run = 0; run < 5; run++) {
    const before = process.cpuUsage()
    await Array.fromAsync(metricsPage(metrics.parts(), 'application/openmetrics-text').body)
    const { user, system } = process.cpuUsage(before)
    took.push((user + system) / 1000)
  }
  assert.ok(Math.min(...took) <= 20, `${took} ms`)
})

test('others get their turn while a large page is written', async () => {
  const metrics = counted(2000)
  let turns = 0
  let over = false
  const count = () => {
    turns++
    if (!over) setImmediate(count)
  }
  setImmediate(count)
  const page = (await Array.fromAsync(metricsPage(metrics.parts(), undefined).body)).join('')
  over = true
  assert.equal(page, metrics.text().replace(/process_[\s\S]*/, page.slice(page.indexOf('process_'))))
  // Six to eight on a machine at rest; one and the same turn would be one.
  assert.ok(turns > 1, `${turns} turns while ${page.length} characters were written`)
})

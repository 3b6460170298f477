import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { featureEnabled, loadConfiguration } from './configuration.ts'

async function write(t: TestContext, ...specs: string[]): Promise<string[]> {
  const path = await mkdtemp(join(tmpdir(), 'outrider-configuration-'))
  t.after(() => rm(path, { recursive: true }))
  return Promise.all(
    specs.map(async (spec, index) => {
      const file = join(path, `${index}.yaml`)
      await writeFile(file, `apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata:\n  name: c${index}\nspec:\n${spec}`)
      return file
    }),
  )
}

test('without a file the defaults of daprd stand', async () => {
  const configuration = await loadConfiguration(undefined)
  assert.deepEqual(configuration.names, [])
  assert.deepEqual(configuration.metrics, {
    enabled: true,
    recordErrorCodes: false,
    http: { increasedCardinality: true, pathMatching: [], excludeVerbs: false },
    latencyDistributionBuckets: undefined,
    rules: [],
  })
  assert.equal(featureEnabled(configuration, 'HotReload'), true)
  assert.equal(featureEnabled(configuration, 'ActorStateTTL'), false)
})

test('several files merge: mappings deeply, lists as a whole', async (t) => {
  const files = await write(
    t,
    '  tracing: {samplingRate: 1, otel: {endpointAddress: a:1, headers: ["k=v=w"]}}\n  features: [{name: HotReload, enabled: false}, {name: A, enabled: true}]\n  metric: {enabled: false, http: {excludeVerbs: true}}\n',
    '  tracing: {otel: {protocol: grpc}}\n  features: [{name: B, enabled: true}]\n  metrics: {enabled: true}\n',
  )
  const configuration = await loadConfiguration(files)
  assert.deepEqual(configuration.names, ['c0', 'c1'])
  assert.equal(configuration.tracing.samplingRate, '1')
  assert.deepEqual(configuration.tracing.otel, {
    endpointAddress: 'a:1',
    headers: [{ name: 'k', value: 'v=w' }],
    protocol: 'grpc',
    isSecure: true,
  })
  assert.deepEqual([...configuration.features], [['B', true]])
  assert.deepEqual([configuration.metrics.enabled, configuration.metrics.http.excludeVerbs], [true, true])
})

test('variables are expanded, unknown ones to nothing', async (t) => {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the braces are the point
  const [file] = await write(t, '  nameResolution: {component: "$KIND", configuration: {a: "${WHERE}/x$UNKNOWN"}}\n')
  const { nameResolution } = await loadConfiguration(file, { env: { KIND: 'sqlite', WHERE: '/tmp' } })
  assert.deepEqual(nameResolution, { component: 'sqlite', configuration: { a: '/tmp/x' } })
})

test('what cannot be used ends the start with its place', async (t) => {
  const [bad, repeated, policy] = await write(
    t,
    '  metric: {enabled: maybe}\n',
    '  secrets: {scopes: [{storeName: a}, {storeName: a}]}\n',
    '  accessControl: {policies: [{appId: x, namespace: n}]}\n',
  )
  await assert.rejects(loadConfiguration(bad), (error: Error) =>
    error.message.includes(`${bad}:6:21: spec.metric.enabled must be true or false`),
  )
  await assert.rejects(loadConfiguration(repeated), /storeName a is repeated/)
  await assert.rejects(loadConfiguration(policy), /policy 1 \(x\) lacks trustDomain/)
  await assert.rejects(loadConfiguration('/nonexistent.yaml'), /open \/nonexistent\.yaml: no such file/)
})

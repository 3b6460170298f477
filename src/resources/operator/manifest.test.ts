import assert from 'node:assert/strict'
import { test } from 'node:test'
import { manifestOf } from './manifest.ts'

const base64 = (text: string) => Buffer.from(text).toString('base64')

test('what Go writes of nothing is left out', () => {
  const given = { metadata: { name: 'a', creationTimestamp: null }, spec: { type: 'state.x', metadata: null }, scopes: null, status: {} }
  assert.deepEqual(manifestOf('Component', 'dapr.io/v1alpha1', given), {
    apiVersion: 'dapr.io/v1alpha1',
    kind: 'Component',
    metadata: { name: 'a' },
    spec: { type: 'state.x', metadata: [] },
    auth: { secretStore: 'kubernetes' },
  })
})

test("the cluster's own secrets come read, those of other stores as references", () => {
  const metadata = [
    { name: 'plain', value: 'one' },
    { name: 'number', value: 2 },
    { name: 'secret', value: base64('grün'), secretKeyRef: { name: 's', key: 'k' } },
    { name: 'empty', value: 'three', secretKeyRef: { name: '', key: '' } },
    { name: 'environment', envRef: 'HOME' },
  ]
  const of = (secretStore: string) =>
    (manifestOf('Component', 'dapr.io/v1alpha1', { spec: { metadata }, auth: { secretStore } }).spec as { metadata: unknown[] }).metadata
  assert.deepEqual(of(''), [
    { name: 'plain', value: 'one' },
    { name: 'number', value: 2 },
    { name: 'secret', value: 'grün' },
    { name: 'empty', value: 'three' },
    { name: 'environment', envRef: 'HOME' },
  ])
  assert.deepEqual(of('vault')[2], { name: 'secret', value: base64('grün'), secretKeyRef: { name: 's', key: 'k' } })
})

test("endpoints: Go's spelling of the URL, and TLS parts that are references to nothing", () => {
  const { spec } = manifestOf('HTTPEndpoint', 'dapr.io/v1alpha1', {
    spec: {
      baseURL: 'https://a',
      headers: [{ name: 'token', value: base64('x'), secretKeyRef: { name: 's', key: 'k' } }],
      clientTLS: { rootCA: { value: 'PEM', secretKeyRef: { name: '', key: '' } }, certificate: null },
    },
  })
  assert.deepEqual(spec, {
    baseUrl: 'https://a',
    headers: [{ name: 'token', value: 'x' }],
    clientTLS: { rootCA: { value: 'PEM' } },
  })
})

test('kinds without secrets get no store', () => {
  assert.equal('auth' in manifestOf('Subscription', 'dapr.io/v2alpha1', { metadata: { name: 'a' }, spec: {} }), false)
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pathLabels } from './path-label.ts'

test('with increased cardinality a path loses its keys, ids and instances, and nothing else', () => {
  const label = pathLabels({ increasedCardinality: true, pathMatching: [] })
  const cases: [path: string, label: string][] = [
    ['/v1.0/state/store/key/with/slashes', '/v1.0/state/store'],
    ['/v1.0/secrets/vault/name', '/v1.0/secrets/vault'],
    ['/v1.0/actors/Type/17/method/do', '/v1.0/actors/Type/{id}/method'],
    ['/actors/Type/17/method/do', 'actors/Type/{id}/method/do'],
    ['/v1.0/workflows/dapr/i-1', '/v1.0/workflows/dapr/{instanceId}'],
    ['/v1.0/workflows/dapr/i-1/pause', '/v1.0/workflows/dapr/{instanceId}/pause'],
    ['/v1.0/workflows/dapr/name/start', '/v1.0/workflows/dapr/name/start'],
    ['/v1.0/workflows/dapr/i-1/raiseEvent/paid', '/v1.0/workflows/dapr/{instanceId}/raiseEvent/{eventName}'],
    ['/v1.0/invoke/app/method/some%20path//x', '/v1.0/invoke/app/method/some path/x'],
    ['/v1.0/healthz', '/v1.0/healthz'],
  ]
  for (const [path, expected] of cases) assert.equal(label(path), expected, path)
})

test('without it every path is one, but for those that a pattern takes', () => {
  const none = pathLabels({ increasedCardinality: false, pathMatching: [] })
  assert.equal(none('/v1.0/invoke/app/method/x'), '')
  assert.equal(none('/dapr/config'), '/dapr/config')
  const label = pathLabels({
    increasedCardinality: false,
    pathMatching: ['/orders/{id}', '/orders/new', '/files/', '/v1.0/state/store/{key}', '/v1.0/invoke/a/method/x'],
  })
  const cases: [path: string, label: string][] = [
    ['/orders/17', '/orders/{id}'],
    ['/orders/new', '/orders/new'],
    ['/orders', ''],
    ['/orders/17/lines', ''],
    ['/files/a/b', '/files/'],
    ['/v1.0/invoke/shop/method/orders/17', '/v1.0/invoke/{app_id}/method/orders/{id}'],
    ['/v1.0/invoke/a/method/x', '/v1.0/invoke/a/method/x'],
    ['//v1.0/state/store//k', '/v1.0/state/store/{key}'],
    ['/v1.0/state/store', ''],
  ]
  for (const [path, expected] of cases) assert.equal(label(path), expected, path)
})

test('with both, what no pattern takes keeps its path', () => {
  const label = pathLabels({ increasedCardinality: true, pathMatching: ['/orders/{id}'] })
  assert.equal(label('/orders/17'), '/orders/{id}')
  assert.equal(label('/basket/17'), '/basket/17')
  assert.equal(label('/v1.0/state/store/key'), '/v1.0/state/store')
})

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { parseAllDocuments } from 'yaml'
import { startApiServer } from '../../../test/kubernetes/api-server.ts'
import { DEFAULT_VALUES } from '../../control/manifests/manifest.ts'

const run = promisify(execFile)
const start = join(import.meta.dirname, '../start.js')

test('the control plane is installed, shown and taken away; apps get annotations and show their logs', async () => {
  await using api = await startApiServer()
  const kubeconfig = api.kubeconfig()
  const outrider = (...args: string[]) => run(process.execPath, [start, 'outrider', 'k8s', ...args, '--kubeconfig', kubeconfig])
  const namespace = DEFAULT_VALUES.namespace
  // Deployments come up as soon as they are made.
  using _ready = api.store.follow(api.store.version, ({ type, collection, object }) => {
    if (type === 'ADDED' && collection === 'apps/deployments')
      setImmediate(() => api.store.update(collection, { ...object, status: { readyReplicas: object.spec.replicas } }))
  })
  await assert.rejects(outrider('install'), /--image is missing/)
  const { stdout } = await outrider('install', '--image', 'reg/outrider:1')
  assert.match(stdout, /crds: \d+ applied[\s\S]*network-policies: 3 applied[\s\S]*the control plane is in 127\.0\.0\.1/)
  const image = (name: string) => api.store.get('apps/deployments', namespace, name)?.spec.template.spec.containers[0].image
  assert.equal(image('outrider-control'), 'reg/outrider:1')
  // Once more changes nothing.
  const version = api.store.version
  await outrider('install', '--image', 'reg/outrider:1')
  assert.equal(api.store.version, version)
  // The other form takes the place of this one, and back; what is not ours stays.
  await outrider('install', '--image', 'reg/outrider:1', '--separate')
  assert.deepEqual([image('dapr-operator'), image('outrider-control')], ['reg/outrider:1', undefined])
  const operator = api.store.get('apps/deployments', namespace, 'dapr-operator')
  api.store.update('apps/deployments', { ...operator, metadata: { ...operator?.metadata, labels: {} } } as never)
  await outrider('install', '--image', 'reg/outrider:1')
  assert.deepEqual([image('dapr-operator'), image('dapr-sentry')], ['reg/outrider:1', undefined])
  api.store.delete('apps/deployments', namespace, 'dapr-operator')
  const dry = await outrider('install', '--image', 'x', '--dry-run')
  assert.equal(parseAllDocuments(dry.stdout).length > 30, true)

  await api.apply({ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'orders', namespace: 'default' }, spec: { replicas: 1 } })
  await outrider('annotate', 'orders', '--app-port', '8080')
  assert.deepEqual(api.store.get('apps/deployments', 'default', 'orders')?.spec.template.metadata.annotations, {
    'dapr.io/enabled': 'true',
    'dapr.io/app-id': 'orders',
    'dapr.io/app-port': '8080',
  })
  await assert.rejects(outrider('annotate', 'another'), /no Deployment another in the namespace default/)
  const labels = { 'dapr.io/sidecar-injected': 'true', 'dapr.io/app-id': 'orders' }
  api.store.create('/pods', {
    metadata: { name: 'orders-1', namespace: 'default', labels },
    status: { containerStatuses: [{ ready: true }, { ready: true }] },
    log: 'hello from daprd',
  })
  assert.match((await outrider('status')).stdout, /outrider-control +1\/1[\s\S]*default\/orders-1 +orders +2\/2/)
  assert.match((await outrider('logs', 'orders')).stdout, /orders-1[\s\S]*hello from daprd/)

  await outrider('uninstall')
  assert.equal(api.store.get('apps/deployments', namespace, 'outrider-control'), undefined)
  assert.ok(api.store.get('/namespaces', undefined, namespace))
  await outrider('uninstall', '--all')
  assert.equal(api.store.list('apiextensions.k8s.io/customresourcedefinitions').length, 0)
})

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { startOperator } from '../src/resources/operator/testing/operator.ts'
import { startAuthority, type TestAuthority } from '../src/transport/identity/testing/authority.ts'
import { type SidecarOptions, type SidecarProcess, startApp, startSidecar } from './sidecar.ts'

// outriderd as it runs in a pod: an authority and an operator in this process stand for the control plane.
const home = mkdtempSync(join(tmpdir(), 'outrider-kubernetes-'))
let authority: TestAuthority
before(async () => {
  authority = await startAuthority()
})
after(async () => {
  await authority.close()
  rmSync(home, { recursive: true, force: true })
})

function start(operator: string, options: Partial<SidecarOptions> = {}): Promise<SidecarProcess> {
  return startSidecar({
    appId: 'pod',
    dataDir: home,
    ...options,
    args: [
      '--mode=kubernetes',
      '--disable-builtin-k8s-secret-store',
      `--control-plane-address=${operator}`,
      `--sentry-address=${authority.address}`,
      '--control-plane-trust-domain=localhost',
      '--control-plane-namespace=default',
      ...(options.args ?? []),
    ],
    env: { DAPR_TRUST_ANCHORS: authority.root, NAMESPACE: 'shop' },
  })
}

/** A Component as Go's encoder writes it, nothing left out. */
const component = (name: string, type: string, metadata: unknown[] = []) => ({
  kind: 'Component',
  apiVersion: 'dapr.io/v1alpha1',
  metadata: { name, namespace: 'shop', creationTimestamp: null },
  spec: { type, version: 'v1', ignoreErrors: false, metadata, initTimeout: '' },
  auth: { secretStore: '' },
  scopes: null,
})

const subscription = (topic: string) => ({
  kind: 'Subscription',
  apiVersion: 'dapr.io/v2alpha1',
  metadata: { name: `on-${topic}`, namespace: 'shop', creationTimestamp: null },
  spec: { pubsubname: 'events', topic, metadata: null, routes: { rules: null, default: `/${topic}` }, bulkSubscribe: { enabled: false } },
  scopes: null,
})

interface Metadata {
  components: { name: string; type: string }[]
  subscriptions?: { topic: string }[]
}

/** Asks the sidecar's metadata until it is as wanted, for ten seconds at most. */
async function until(sidecar: SidecarProcess, wanted: (metadata: Metadata) => boolean): Promise<void> {
  for (const end = performance.now() + 10_000; ; ) {
    const metadata = (await (await fetch(`${sidecar.http}/v1.0/metadata`)).json()) as Metadata
    if (wanted(metadata)) return
    assert.ok(performance.now() < end, `still not as wanted: ${JSON.stringify(metadata)}\n${sidecar.log()}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

const has = (name: string) => (metadata: Metadata) => metadata.components.some((one) => one.name === name)

test("a pod's resources come from the operator, asked with the pod's own identity", async () => {
  await using operator = await startOperator(authority)
  operator.put('Component', component('shelf', 'state.in-memory'))
  operator.put('Component', {
    ...component('safe', 'state.sqlite', [
      {
        name: 'connectionString',
        secretKeyRef: { name: 'file', key: 'path' },
        value: Buffer.from(join(home, 'safe.db')).toString('base64'),
      },
    ]),
  })
  operator.put('Component', { ...component('other', 'state.in-memory'), scopes: ['somebody-else'] })
  operator.put('Configuration', {
    metadata: { name: 'limits', namespace: 'shop' } as { name: string },
    spec: { api: { denied: [{ name: 'secrets', version: 'v1.0', protocol: 'http' }] } },
  })
  await using sidecar = await start(operator.address, { args: ['--config=limits'] })
  assert.deepEqual([...operator.callers], ['spiffe://public/ns/shop/pod shop'])
  const metadata = (await (await fetch(`${sidecar.http}/v1.0/metadata`)).json()) as Metadata
  assert.deepEqual(metadata.components.map((one) => one.name).sort(), ['safe', 'shelf'])
  const saved = await fetch(`${sidecar.http}/v1.0/state/safe`, { method: 'POST', body: '[{"key":"a","value":1}]' })
  assert.equal(saved.status, 204, "a secret's value that the operator sends in Base64 is used as its text")
  assert.equal((await fetch(`${sidecar.http}/v1.0/secrets/any/one`)).status, 404, 'the Configuration of the cluster denies it')
})

test('changes arrive by its streams: added, changed, deleted, in subscriptions too, past what cannot be read', async () => {
  await using app = await startApp({})
  await using operator = await startOperator(authority)
  operator.put('Component', component('events', 'pubsub.in-memory'))
  await using sidecar = await start(operator.address, { appId: 'follower', appPort: app.port })
  operator.put('Component', component('late', 'state.in-memory'))
  await until(sidecar, has('late'))
  operator.garble('Component')
  operator.put('Subscription', subscription('orders'))
  await until(sidecar, ({ subscriptions = [] }) => subscriptions.some((one) => one.topic === 'orders'))
  operator.remove('Component', 'late')
  await until(sidecar, (metadata) => !has('late')(metadata))
  assert.match(sidecar.log(), /a change of a Component resource from the operator is unreadable/)
})

test('while the operator is away the sidecar serves; what changed meanwhile is there when it is back', async () => {
  await using operator = await startOperator(authority)
  operator.put('Component', component('shelf', 'state.in-memory'))
  await using sidecar = await start(operator.address, { appId: 'patient' })
  await operator.close()
  operator.put('Component', component('meanwhile', 'state.in-memory'), true)
  const saved = await fetch(`${sidecar.http}/v1.0/state/shelf`, { method: 'POST', body: '[{"key":"a","value":1}]' })
  assert.equal(saved.status, 204)
  await operator.open()
  await until(sidecar, has('meanwhile'))
})

test('without an address of the operator it ends, saying which flag is missing', async () => {
  const started = startSidecar({
    dataDir: home,
    args: ['--mode=kubernetes', `--sentry-address=${authority.address}`, '--control-plane-trust-domain=localhost'],
    env: { DAPR_TRUST_ANCHORS: authority.root },
  })
  await assert.rejects(started, /mode kubernetes needs the address of the operator; give --control-plane-address/)
})

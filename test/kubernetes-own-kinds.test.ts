import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { definitions } from '../src/control/manifests/definitions.ts'
import { OPERATOR_FLAGS } from '../src/control/operator/flags.ts'
import { runOperator } from '../src/control/operator/run.ts'
import { startOperator } from '../src/resources/operator/testing/operator.ts'
import { startAuthority } from '../src/transport/identity/testing/authority.ts'
import { NAMESPACE, programEnvironment, startCluster, startClusterAuthority, TRUST_DOMAIN } from './kubernetes/control-plane.ts'
import { startProgram } from './kubernetes/program.ts'
import { freePort } from './servers/process.ts'
import { type SidecarProcess, startApp, startSidecar } from './sidecar.ts'

// Kinds of outrider.dev on their whole way: applied to a cluster, through our operator, into a sidecar that runs.
const home = mkdtempSync(join(tmpdir(), 'outrider-own-kinds-'))
after(() => rmSync(home, { recursive: true, force: true }))

/** Asks until the answer is as wanted, for ten seconds at most. */
async function until<T>(ask: () => Promise<T>, wanted: (value: T) => boolean, sidecar: SidecarProcess): Promise<void> {
  for (const end = performance.now() + 10_000; ; ) {
    const value = await ask()
    if (wanted(value)) return
    assert.ok(performance.now() < end, `still ${JSON.stringify(value)}\n${sidecar.log()}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

test('a policy and a role are applied to a cluster, change and go, and reach the sidecars of their namespace and scope', async () => {
  // It has no such path: 404 is what it says itself.
  await using app = await startApp({})
  await using api = await startCluster()
  for (const { metadata, spec } of definitions(NAMESPACE) as { metadata: { name: string }; spec: { group: string } }[])
    if (spec.group === 'outrider.dev') api.store.create('apiextensions.k8s.io/customresourcedefinitions', { metadata, spec } as never)
  api.store.create('/namespaces', { metadata: { name: 'elsewhere' } })
  await using authority = await startClusterAuthority(api)
  const policy = (status: number, more: object = {}, name = 'breakage', namespace = 'default') =>
    api.apply({
      apiVersion: 'outrider.dev/v1',
      kind: 'TrafficPolicy',
      metadata: { name, namespace },
      spec: {
        policies: { faults: { broken: { error: { percent: 100, httpStatus: status } } } },
        targets: { apps: { [`http://127.0.0.1:${app.port}`]: { fault: 'broken' } } },
      },
      ...more,
    })
  await policy(418)
  const flags = [`--kubeconfig=${api.kubeconfig()}`, `--trust-anchors-file=${authority.anchorsFile}`, '--disable-leader-election']
  await using operator = await startProgram(runOperator, OPERATOR_FLAGS, flags, {
    ...programEnvironment(authority, 'operator'),
    ENABLE_WEBHOOKS: 'false',
  })
  const agent = await freePort()
  await using sidecar = await startSidecar({
    appId: 'shopper',
    dataDir: home,
    args: [
      '--mode=kubernetes',
      '--disable-builtin-k8s-secret-store',
      `--control-plane-address=127.0.0.1:${operator.port}`,
      `--sentry-address=${authority.address}`,
      `--control-plane-trust-domain=${TRUST_DOMAIN}`,
      `--control-plane-namespace=${NAMESPACE}`,
      `--outrider-agent-port=${agent}`,
    ],
    env: {
      DAPR_TRUST_ANCHORS: authority.anchors,
      NAMESPACE: 'default',
      DAPR_SENTRY_TOKEN_FILE: authority.tokenFile('default', 'shopper-1', { 'dapr.io/enabled': 'true', 'dapr.io/app-id': 'shopper' }),
    },
  })
  const call = async () => (await fetch(`${sidecar.http}/v1.0/invoke/http://127.0.0.1:${app.port}/method/x`)).status
  await until(call, (status) => status === 418, sidecar)
  await policy(599)
  await until(call, (status) => status === 599, sidecar)
  // For somebody else, and of another namespace.
  await policy(598, { scopes: ['another'] })
  await policy(597, {}, 'foreign', 'elsewhere')
  await until(call, (status) => status === 404, sidecar)
  await policy(418, { scopes: ['another', 'shopper'] })
  await until(call, (status) => status === 418, sidecar)
  api.store.delete('outrider.dev/trafficpolicies', 'default', 'breakage')
  await until(call, (status) => status === 404, sidecar)

  const role = () =>
    fetch(`http://127.0.0.1:${agent}/metrics`).then(
      (reply) => reply.status,
      () => 0,
    )
  assert.equal(await role(), 0)
  await api.apply({
    apiVersion: 'outrider.dev/v1',
    kind: 'MetricsAdapter',
    metadata: { name: 'numbers', namespace: 'default' },
    spec: { statsd: { udp: '127.0.0.1:0' } },
  })
  await until(role, (status) => status === 200, sidecar)
})

test("an operator of Dapr's does not know them: the sidecar says so once, for those who ask, and runs", async () => {
  const authority = await startAuthority()
  await using operator = await startOperator(authority)
  await using sidecar = await startSidecar({
    appId: 'guest',
    dataDir: home,
    args: [
      '--mode=kubernetes',
      '--log-level=debug',
      '--disable-builtin-k8s-secret-store',
      `--control-plane-address=${operator.address}`,
      `--sentry-address=${authority.address}`,
      '--control-plane-trust-domain=localhost',
      '--control-plane-namespace=default',
    ],
    env: { DAPR_TRUST_ANCHORS: authority.root, NAMESPACE: 'shop' },
  })
  await until(
    async () => sidecar.log(),
    (log) => /has no resources of outrider\.dev/.test(log),
    sidecar,
  )
  assert.equal(sidecar.log().match(/has no resources of outrider\.dev/g)?.length, 1)
  assert.doesNotMatch(sidecar.log(), /level=(warning|error).*outrider\.dev/)
  await authority.close()
})

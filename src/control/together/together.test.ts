import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import type { ApiServer } from '../../../test/kubernetes/api-server.ts'
import { NAMESPACE, SENTRY_ID, startCluster, TRUST_DOMAIN } from '../../../test/kubernetes/control-plane.ts'
import { OPERATOR_KINDS } from '../../resources/operator/messages.ts'
import type { Logger } from '../../telemetry/log.ts'
import { createGrpcClient } from '../../transport/grpc/client.ts'
import { frame } from '../../transport/grpc/frames.ts'
import { requestIdentity } from '../../transport/identity/sentry.ts'
import { TokenValidator } from '../../transport/identity/sentry-messages.ts'
import { fixedTrustAnchors } from '../../transport/identity/trust-anchors.ts'
import { WorkloadIdentity } from '../../transport/identity/workload-identity.ts'
import { installation } from '../manifests/install.ts'
import { DEFAULT_VALUES } from '../manifests/manifest.ts'
import { parseTogetherFlags } from './flags.ts'
import { runTogether } from './run.ts'

const folder = mkdtempSync(join(tmpdir(), 'outrider-together-'))
after(() => rmSync(folder, { recursive: true, force: true }))

interface Ports {
  authority: number
  operator: number
  injector: number
  conversion: number
  health: number
}

/** Control planes of one process each in one cluster, as many as are started; admission asks the one that `asked` names. */
async function place(mtls: Record<string, string> = { workloadCertTTL: '2h' }) {
  const all: { ports: Ports; lines: string[]; stop(): Promise<void> }[] = []
  let asked = 0
  const api = await startCluster({
    resolve: (namespace, service) =>
      `${namespace}/${service}` === `${NAMESPACE}/dapr-sidecar-injector` && all[asked]
        ? { host: '127.0.0.1', port: all[asked]?.ports.injector as number }
        : undefined,
  })
  api.store.create('dapr.io/configurations', {
    metadata: { name: 'daprsystem', namespace: NAMESPACE },
    spec: { mtls: { ...mtls, controlPlaneTrustDomain: TRUST_DOMAIN } },
  })
  for (const { name, objects } of installation(DEFAULT_VALUES))
    if (name === 'webhook') for (const object of objects) await api.apply(object as never)
  const start = async (...argv: string[]) => {
    const stop = new AbortController()
    const lines: string[] = []
    const found = Promise.withResolvers<Ports>()
    const write = (line: string) => {
      lines.push(line)
      const port = (pattern: RegExp) => Number(lines.map((each) => pattern.exec(each)?.[1]).find((each) => each !== undefined) ?? 0)
      const ports = {
        authority: port(/^the authority .* on port (\d+)/),
        operator: port(/^the operator listens on port (\d+)/),
        injector: port(/^Sidecar injector .* on port (\d+)/),
        conversion: port(/^Subscriptions are converted at port (\d+)/),
        health: port(/^health is at port (\d+)/),
      }
      if (Object.values(ports).every((each) => each > 0)) found.resolve(ports)
    }
    const log: Logger = { debug: write, info: write, warn: write, error: write, fatal: write, scope: () => log, enabled: () => true }
    const flags = parseTogetherFlags([
      `--kubeconfig=${api.kubeconfig()}`,
      ...['sentry-port', 'operator-port', 'injector-port', 'webhook-server-port', 'healthz-port'].map((name) => `--${name}=0`),
      ...['listen-address', 'webhook-server-listen-address', 'healthz-listen-address'].map((name) => `--${name}=127.0.0.1`),
      '--enable-metrics=false',
      ...argv,
    ])
    const env = { NAMESPACE, SIDECAR_IMAGE: 'outrider:1', ACTORS_ENABLED: 'false' }
    const running = runTogether({ flags, env, log, signal: stop.signal })
    const ports = await Promise.race([found.promise, running.then(() => Promise.reject(new Error(lines.join('\n'))))])
    all.push({
      ports,
      lines,
      async stop() {
        stop.abort()
        await running
      },
    })
    return ports
  }
  return {
    api,
    all,
    start,
    ask(index: number) {
      asked = index
    },
    anchors: () => String(api.store.get('/configmaps', NAMESPACE, 'dapr-trust-bundle')?.data['ca.crt']),
    async [Symbol.asyncDispose]() {
      for (const each of all) await each.stop()
      await api[Symbol.asyncDispose]()
    },
  }
}

const quiet: Logger = { debug() {}, info() {}, warn() {}, error() {}, fatal() {}, scope: () => quiet, enabled: () => false }

/** The identity of an app, as that authority signs it. */
async function identityOf(api: ApiServer, port: number, anchors: string, appId: string): Promise<WorkloadIdentity> {
  const name = `${appId}-pod`
  if (!api.store.get('/pods', 'default', name))
    api.store.create('/pods', {
      metadata: { name, namespace: 'default', annotations: { 'dapr.io/enabled': 'true', 'dapr.io/app-id': appId } },
      spec: { serviceAccountName: 'default' },
    })
  const tokenFile = join(folder, `${appId}-${port}`)
  writeFileSync(tokenFile, api.token('default', 'default', [SENTRY_ID], name))
  const options = {
    address: `127.0.0.1:${port}`,
    authorityId: SENTRY_ID,
    appId,
    namespace: 'default',
    tokenFile,
    tokenValidator: TokenValidator.KUBERNETES,
  }
  const ask = (pem: string) => requestIdentity(options, pem)
  return new WorkloadIdentity({ anchors: fixedTrustAnchors(anchors, 'test'), request: ask, log: quiet }, await ask(anchors))
}

async function components(identity: WorkloadIdentity, port: number): Promise<string[]> {
  await using client = createGrpcClient({ tls: identity.dial })
  const { list } = OPERATOR_KINDS.Component
  const address = `127.0.0.1:${port}/ns/${NAMESPACE}/dapr-operator`
  const reply = await client.unary(address, list?.path ?? '', list?.request.encode({ namespace: 'default' }) ?? Buffer.alloc(0), {
    timeout: 5000,
  })
  return list?.reply.decode(reply).items.map((item) => (JSON.parse(String(item)) as { metadata: { name: string } }).metadata.name) ?? []
}

async function admitted(api: ApiServer): Promise<string[]> {
  const { object } = await api.apply({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { generateName: 'orders-', namespace: 'default', annotations: { 'dapr.io/enabled': 'true', 'dapr.io/app-id': 'orders' } },
    spec: { containers: [{ name: 'app', image: 'app' }] },
  })
  return (object.spec.containers as { name: string }[]).map(({ name }) => name)
}

/** The API server knows by which certificates it is to believe the webhook. */
async function published(api: ApiServer): Promise<void> {
  const known = () => {
    const found = api.store.get('admissionregistration.k8s.io/mutatingwebhookconfigurations', undefined, 'dapr-sidecar-injector')
    return Boolean(found?.webhooks[0].clientConfig.caBundle)
  }
  while (!known()) await new Promise((resolve) => setImmediate(resolve))
}

/** Asks the conversion webhook as an API server does: by its Service's name. */
function converted(port: number, ca: string): Promise<string> {
  const body = JSON.stringify({
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'ConversionReview',
    request: {
      uid: 'u',
      desiredAPIVersion: 'dapr.io/v2alpha1',
      objects: [{ apiVersion: 'dapr.io/v1alpha1', kind: 'Subscription', spec: { route: '/a' } }],
    },
  })
  return new Promise((resolve, reject) => {
    const to = {
      host: '127.0.0.1',
      port,
      path: '/convert',
      method: 'POST',
      ca,
      servername: `dapr-webhook.${NAMESPACE}.svc`,
      headers: { 'content-type': 'application/json' },
    }
    const call = request(to, (reply) => {
      let text = ''
      reply.on('data', (chunk: Buffer) => {
        text += chunk
      })
      reply.on('end', () => resolve(text))
    })
    call.on('error', reject).end(body)
  })
}

test('one process signs, serves resources, adds sidecars and converts, with one watch of each kind and one page of health', async () => {
  await using at = await place()
  const { api } = at
  const ports = await at.start()
  using identity = await identityOf(api, ports.authority, at.anchors(), 'orders')
  assert.equal(identity.id.uri, 'spiffe://public/ns/default/orders')
  await api.apply({
    apiVersion: 'dapr.io/v1alpha1',
    kind: 'Component',
    metadata: { name: 'store', namespace: 'default' },
    spec: { type: 'state.in-memory', version: 'v1' },
  })
  while ((await components(identity, ports.operator)).length === 0);
  assert.deepEqual(await components(identity, ports.operator), ['store'])
  await published(api)
  assert.deepEqual(await admitted(api), ['app', 'daprd'])
  assert.match(await converted(ports.conversion, at.anchors()), /"routes":\{"default":"\/a"\}/)
  assert.equal((await fetch(`http://127.0.0.1:${ports.health}/healthz`)).status, 200)
  assert.equal(api.requests.get('watch dapr.io/components'), 1)
  // Its own certificate it signs itself: nobody else asked for one but the app.
  assert.equal(api.requests.get('create authentication.k8s.io/tokenreviews') ?? 1, 1)
})

test('one that does not lead signs, serves, adds sidecars and converts all the same', async () => {
  await using at = await place()
  const { api } = at
  await at.start()
  const lease = () => api.store.get('coordination.k8s.io/leases', NAMESPACE, 'operator.dapr.io')?.spec.holderIdentity as string | undefined
  while (!lease()) await new Promise((resolve) => setImmediate(resolve))
  const leader = lease()
  const ports = await at.start()
  at.ask(1)
  using identity = await identityOf(api, ports.authority, at.anchors(), 'orders')
  assert.deepEqual(await components(identity, ports.operator), [])
  assert.deepEqual(await admitted(api), ['app', 'daprd'])
  assert.match(await converted(ports.conversion, at.anchors()), /Success/)
  assert.equal(lease(), leader)
  assert.ok(!at.all[1]?.lines.some((line) => /^leading/.test(line)))
  // Both sign with one issuer.
  const issuers = await Promise.all(at.all.map((each) => identityOf(api, each.ports.authority, at.anchors(), 'orders')))
  for (const each of issuers) each[Symbol.dispose]()
})

test('certificates that live for three seconds: webhooks, resources and streams go on over many of them, renewed at half of their life', async () => {
  await using at = await place({ workloadCertTTL: '3s', allowedClockSkew: '0s' })
  const { api } = at
  const ports = await at.start()
  const lines = at.all[0]?.lines as string[]
  const renewed = () => lines.filter((line) => /^identity .*dapr-operator is valid until/.test(line)).length
  using identity = await identityOf(api, ports.authority, at.anchors(), 'orders')
  await using client = createGrpcClient({ tls: identity.dial, idleTimeout: 0 })
  const { updates } = OPERATOR_KINDS.Component
  const heard = Promise.withResolvers<void>()
  heard.promise.catch(() => {})
  const stream = client.stream(
    `127.0.0.1:${ports.operator}/ns/${NAMESPACE}/dapr-operator`,
    updates.path,
    {},
    {
      onMessage: () => heard.resolve(),
      onClose: (status) => heard.reject(status ?? new Error('the stream ended')),
    },
  )
  stream.end(frame(updates.request.encode({ namespace: 'default' })))
  await published(api)
  const began = performance.now()
  for (let round = 0; performance.now() - began < 5000; round++) {
    assert.deepEqual(await admitted(api), ['app', 'daprd'], `round ${round}`)
    assert.match(await converted(ports.conversion, at.anchors()), /Success/)
    // A connection of its own each time, so with the certificates of that moment.
    await components(identity, ports.operator)
  }
  const seconds = (performance.now() - began) / 1000
  assert.ok(renewed() >= 3 && renewed() <= seconds + 3, `${renewed()} certificates in ${seconds} s`)
  await api.apply({
    apiVersion: 'dapr.io/v1alpha1',
    kind: 'Component',
    metadata: { name: 'store', namespace: 'default' },
    spec: { type: 'state.in-memory', version: 'v1' },
  })
  await heard.promise
  stream.cancel()
})

test('flags of the three programs, for all of them or for one; ports only for one', () => {
  const flags = parseTogetherFlags([
    '--operator-port=1',
    '--injector-port',
    '2',
    '--listen-address=127.0.0.1',
    '--sentry-listen-address=::1',
    '--jwt-enabled',
    '--log-level=warn',
  ])
  assert.deepEqual([flags.operator.port, flags.injector.port, flags.sentry.port], [1, 2, 50001])
  assert.deepEqual(
    [flags.operator['listen-address'], flags.injector['listen-address'], flags.sentry['listen-address']],
    ['127.0.0.1', '127.0.0.1', '::1'],
  )
  assert.deepEqual([flags.sentry['jwt-enabled'], flags.sentry.mode, flags.common['log-level']], [true, 'kubernetes', 'warn'])
  assert.deepEqual(parseTogetherFlags(['--sentry=false']).wanted, { sentry: false, operator: true, injector: true })
  assert.throws(() => parseTogetherFlags(['--port=1']), /write --sentry-port, --operator-port, --injector-port/)
  assert.throws(() => parseTogetherFlags(['--sentry=false', '--operator=false', '--injector=false']), /nothing is left to run/)
  assert.throws(() => parseTogetherFlags(['--mode=standalone']), /run outrider-sentry by itself/)
})

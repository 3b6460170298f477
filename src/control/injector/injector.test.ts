import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ADMIN, type ApiServer } from '../../../test/kubernetes/api-server.ts'
import { NAMESPACE, programEnvironment, startCluster, startClusterAuthority } from '../../../test/kubernetes/control-plane.ts'
import { startProgram } from '../../../test/kubernetes/program.ts'
import { installation } from '../manifests/install.ts'
import { DEFAULT_VALUES } from '../manifests/manifest.ts'
import { INJECTOR_FLAGS } from './flags.ts'
import { runInjector } from './run.ts'

const CONTROLLER = { username: 'system:serviceaccount:kube-system:replicaset-controller', groups: ['system:authenticated'] }

/** A cluster in which an injector is asked for every pod, over TLS by its Service's name. */
async function place() {
  let port = 0
  const api = await startCluster({
    resolve: (namespace, service) =>
      `${namespace}/${service}` === `${NAMESPACE}/dapr-sidecar-injector` ? { host: '127.0.0.1', port } : undefined,
  })
  const authority = await startClusterAuthority(api)
  for (const { name, objects } of installation(DEFAULT_VALUES))
    if (name === 'webhook') for (const object of objects) await api.apply(object as never)
  const env = {
    ...programEnvironment(authority, 'injector'),
    SIDECAR_IMAGE: 'outrider:1',
    DAPR_TRUST_ANCHORS_FILE: authority.anchorsFile,
    DAPR_SENTRY_ADDRESS: authority.address,
    SIDECAR_CPU_REQUEST: '100m',
    ACTORS_ENABLED: 'false',
  }
  const published = new Promise<void>((resolve) => {
    const following = api.store.follow(api.store.version, ({ object }) => {
      if (!object.webhooks?.every((each: { clientConfig: { caBundle?: string } }) => each.clientConfig.caBundle)) return
      following[Symbol.dispose]()
      resolve()
    })
  })
  const injector = await startProgram(runInjector, INJECTOR_FLAGS, [`--kubeconfig=${api.kubeconfig()}`], env)
  port = injector.port
  await published
  return {
    api,
    async [Symbol.asyncDispose]() {
      await injector[Symbol.asyncDispose]()
      await authority[Symbol.asyncDispose]()
      await api[Symbol.asyncDispose]()
    },
  }
}

interface Container {
  name: string
  image: string
  args: string[]
  env: { name: string; value?: string }[]
  resources?: object
}

async function made(api: ApiServer, annotations: Record<string, string>, metadata: object = {}, namespace = 'default', user = CONTROLLER) {
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { generateName: 'orders-5d9f7c-', namespace, annotations, labels: { 'pod-template-hash': '5d9f7c' }, ...metadata },
    spec: { containers: [{ name: 'app', image: 'app' }] },
  }
  const { object, warnings } = await api.apply(pod, user)
  const containers = object.spec.containers as Container[]
  return { warnings, object, app: containers[0], sidecar: containers.find(({ name }) => name === 'daprd') }
}

const flag = (container: Container | undefined, name: string) => container?.args[container.args.indexOf(`--${name}`) + 1]

test('a pod that asks for it gets a sidecar by its annotations; its app learns the ports', async () => {
  await using at = await place()
  const { sidecar, app, object, warnings } = await made(at.api, {
    'dapr.io/enabled': 'true',
    'dapr.io/app-id': 'orders',
    'dapr.io/app-port': '8080',
    'outrider.dev/log-level': 'debug',
  })
  assert.equal(sidecar?.image, 'outrider:1')
  assert.equal(sidecar?.args[0], '/daprd')
  assert.deepEqual(
    ['app-id', 'app-port', 'log-level', 'mode'].map((name) => flag(sidecar, name)),
    ['orders', '8080', 'debug', 'kubernetes'],
  )
  assert.ok(sidecar?.args.includes('--enable-mtls'))
  assert.match(sidecar?.env.find(({ name }) => name === 'DAPR_TRUST_ANCHORS')?.value ?? '', /BEGIN CERTIFICATE/)
  assert.deepEqual(sidecar?.resources, { requests: { cpu: '100m' } })
  assert.equal(app?.env.find(({ name }) => name === 'DAPR_HTTP_PORT')?.value, '3500')
  assert.equal(object.metadata.labels?.['dapr.io/app-id'], 'orders')
  assert.deepEqual(warnings, [])
})

test('other pods stay as they are: not asked for, refused, there already, or made by somebody', async () => {
  await using at = await place()
  const wanted = { 'dapr.io/enabled': 'true', 'dapr.io/app-id': 'orders' }
  assert.equal((await made(at.api, {})).sidecar, undefined)
  assert.equal((await made(at.api, { ...wanted, 'outrider.dev/enabled': 'false' })).sidecar, undefined)
  assert.equal((await made(at.api, wanted, {}, NAMESPACE)).sidecar, undefined)
  const stranger = await made(at.api, wanted, {}, 'default', {
    username: 'system:serviceaccount:default:somebody',
    groups: ['system:authenticated'],
  })
  assert.equal(stranger.sidecar, undefined)
  assert.match(stranger.warnings.join(), /ALLOWED_SERVICE_ACCOUNTS/)
})

test('in a labelled namespace every pod gets one, named by what makes it, unless it says no', async () => {
  await using at = await place()
  at.api.store.create('/namespaces', {
    metadata: { name: 'shop', labels: { 'outrider-injection': 'enabled', 'kubernetes.io/metadata.name': 'shop' } },
  })
  const { sidecar, object, warnings } = await made(at.api, {}, {}, 'shop')
  assert.equal(flag(sidecar, 'app-id'), 'orders')
  // The authority goes by it.
  assert.equal(object.metadata.annotations?.['dapr.io/app-id'], 'orders')
  assert.deepEqual(warnings, [])
  assert.equal((await made(at.api, { 'dapr.io/enabled': 'false' }, {}, 'shop')).sidecar, undefined)
})

test('what cannot be is told by the name of its annotation', async () => {
  await using at = await place()
  const wanted = { 'dapr.io/enabled': 'true', 'dapr.io/app-id': 'orders' }
  const told = async (annotations: Record<string, string>) => (await made(at.api, { ...wanted, ...annotations })).warnings.join()
  assert.match(await told({ 'dapr.io/app-port': '70000' }), /dapr\.io\/app-port: "70000" is not between 0 and 65535; it is ignored/)
  assert.match(
    await told({ 'outrider.dev/app-prot': '1' }),
    /outrider\.dev\/app-prot is no annotation .* did you mean outrider\.dev\/app-port/,
  )
  await assert.rejects(made(at.api, { ...wanted, 'dapr.io/app-id': 'Orders!' }), /invalid app id "Orders!"/)
  const named = await made(at.api, { 'dapr.io/enabled': 'true' }, { name: 'alone' }, 'default', ADMIN)
  assert.match(named.warnings.join(), /the app gets the id "alone" of this pod/)
})

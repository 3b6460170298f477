import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ApiServer } from '../../../test/kubernetes/api-server.ts'
import {
  type Authority,
  NAMESPACE,
  programEnvironment,
  startCluster,
  startClusterAuthority,
} from '../../../test/kubernetes/control-plane.ts'
import { type RunningProgram, startProgram } from '../../../test/kubernetes/program.ts'
import { Code } from '../../errors.ts'
import {
  EventType,
  GET_CONFIGURATION,
  OPERATOR_KINDS,
  type OperatorKind,
  type OperatorKindName,
} from '../../resources/operator/messages.ts'
import { createGrpcClient } from '../../transport/grpc/client.ts'
import { frame } from '../../transport/grpc/frames.ts'
import type { GrpcStatus } from '../../transport/grpc/status.ts'
import type { KubeObject } from '../informer.ts'
import { convertReview } from './conversion.ts'
import { OPERATOR_FLAGS } from './flags.ts'
import { runOperator } from './run.ts'

interface Place extends AsyncDisposable {
  api: ApiServer
  authority: Authority
  operator: RunningProgram
  start(...argv: string[]): Promise<RunningProgram>
}

async function place(...argv: string[]): Promise<Place> {
  const api = await startCluster()
  const authority = await startClusterAuthority(api)
  const flags = () => [
    `--kubeconfig=${api.kubeconfig()}`,
    `--trust-anchors-file=${authority.anchorsFile}`,
    '--webhook-server-port=0',
    '--webhook-server-listen-address=127.0.0.1',
  ]
  const start = (...more: string[]) =>
    startProgram(runOperator, OPERATOR_FLAGS, [...flags(), ...more], programEnvironment(authority, 'operator'))
  const operator = await start(...argv)
  return {
    api,
    authority,
    operator,
    start,
    async [Symbol.asyncDispose]() {
      await operator[Symbol.asyncDispose]()
      await authority[Symbol.asyncDispose]()
      await api[Symbol.asyncDispose]()
    },
  }
}

/** A sidecar as the operator sees it. */
async function sidecar({ authority, operator }: Pick<Place, 'authority' | 'operator'>, namespace: string, appId: string, notes = {}) {
  const identity = await authority.identity(namespace, appId, notes)
  const client = createGrpcClient({ tls: identity.dial })
  const address = `127.0.0.1:${operator.port}/ns/${NAMESPACE}/dapr-operator`
  return {
    async list(kind: OperatorKindName, of = namespace): Promise<KubeObject[]> {
      const { list } = OPERATOR_KINDS[kind] as OperatorKind
      assert.ok(list)
      const reply = await client.unary(address, list.path, list.request.encode({ namespace: of }), { timeout: 5000 })
      return list.reply.decode(reply).items.map((item) => JSON.parse(String(item)) as KubeObject)
    },
    async configuration(name: string): Promise<unknown> {
      const request = GET_CONFIGURATION.request.encode({ name, namespace })
      const reply = await client.unary(address, GET_CONFIGURATION.path, request, { timeout: 5000 })
      return JSON.parse(String(GET_CONFIGURATION.reply.decode(reply).configuration))
    },
    watch(kind: OperatorKindName, of = namespace) {
      const { updates } = OPERATOR_KINDS[kind] as OperatorKind
      const seen: { type: number; object: KubeObject }[] = []
      const waiting: ((event: { type: number; object: KubeObject }) => void)[] = []
      const closed = Promise.withResolvers<GrpcStatus | undefined>()
      const stream = client.stream(
        address,
        updates.path,
        {},
        {
          onMessage(message) {
            const { type, resource } = updates.event.decode(message)
            const event = { type, object: JSON.parse(String(resource)) as KubeObject }
            const next = waiting.shift()
            if (next) next(event)
            else seen.push(event)
          },
          onClose: (status) => closed.resolve(status),
        },
      )
      stream.end(frame(updates.request.encode({ namespace: of })))
      return {
        closed: closed.promise,
        next(): Promise<{ type: number; object: KubeObject }> {
          const event = seen.shift()
          return event ? Promise.resolve(event) : new Promise((resolve) => waiting.push(resolve))
        },
      }
    },
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]()
      identity[Symbol.dispose]()
    },
  }
}

const component = (name: string, more: object = {}, namespace = 'default') => ({
  apiVersion: 'dapr.io/v1alpha1',
  kind: 'Component',
  metadata: { name, namespace },
  spec: { type: 'state.in-memory', version: 'v1' },
  ...more,
})

const configuration = (name: string, spec: object) => ({
  apiVersion: 'dapr.io/v1alpha1',
  kind: 'Configuration',
  metadata: { name, namespace: 'default' },
  spec,
})

/** The operator has seen it: asked until it has. */
async function until<T>(ask: () => Promise<T>, good: (value: T) => boolean): Promise<T> {
  for (;;) {
    const value = await ask()
    if (good(value)) return value
  }
}

test('resources of its own namespace and in its scope, with the secrets they refer to; nothing of others', async () => {
  await using at = await place('--disable-leader-election')
  const { api } = at
  await api.apply(
    configuration('tracing', { tracing: { otel: { headers: [{ name: 'key', secretKeyRef: { name: 'db', key: 'password' } }] } } }),
  )
  await using orders = await sidecar(at, 'default', 'orders', { 'dapr.io/config': 'tracing' })
  api.store.create('/secrets', { metadata: { name: 'db', namespace: 'default' }, data: { password: 'c2VjcmV0' } })
  const metadata = [{ name: 'password', secretKeyRef: { name: 'db', key: 'password' } }]
  await api.apply(component('store', { spec: { type: 'state.redis', version: 'v1', metadata } }))
  await api.apply(component('scoped', { scopes: ['payments'] }))
  await api.apply(component('vault', { auth: { secretStore: 'vault' }, spec: { type: 'state.redis', version: 'v1', metadata } }))
  await api.apply(component('foreign', {}, NAMESPACE))
  const found = await until(
    () => orders.list('Component'),
    (list) => list.length === 2,
  )
  const values = Object.fromEntries(
    found.map(({ metadata: { name }, spec }) => [name, (spec as { metadata: { value?: string }[] }).metadata[0]?.value]),
  )
  assert.deepEqual(values, { store: 'c2VjcmV0', vault: undefined })
  const denied = { code: Code.PermissionDenied, message: /identity does not match requested namespace/ }
  await assert.rejects(orders.list('Component', NAMESPACE), denied)
  assert.equal((await orders.watch('Component', NAMESPACE).closed)?.code, Code.PermissionDenied)

  const traced = await until(
    () => orders.configuration('tracing').catch(() => undefined),
    (value) => value !== undefined,
  )
  assert.equal((traced as { spec: { tracing: { otel: { headers: { value: string }[] } } } }).spec.tracing.otel.headers[0]?.value, 'secret')
  await assert.rejects(orders.configuration('another'), { code: Code.NotFound })

  await api.apply(component('broken', { spec: { type: 'x', version: 'v1', metadata: [{ name: 'p', secretKeyRef: { name: 'none' } }] } }))
  const problem = await until(
    () =>
      orders.list('Component').then(
        () => '',
        (error: Error) => error.message,
      ),
    (text) => text !== '',
  )
  assert.match(problem, /Component default\/broken secrets: secrets "none" not found/)
})

test('changes as they happen, with scopes that come and go; of Configurations only the one that the pod names', async () => {
  await using at = await place('--disable-leader-election')
  const { api } = at
  await api.apply(configuration('mine', {}))
  await using orders = await sidecar(at, 'default', 'orders', { 'dapr.io/config': 'mine' })
  await orders.configuration('mine').catch(() => {})
  const components = orders.watch('Component')
  const configurations = orders.watch('Configuration')
  // Both streams stand when a list asked for later is answered.
  await orders.list('Component')
  const change = async (object: ReturnType<typeof component>) => {
    await api.apply(object)
    const { type, object: told } = await components.next()
    return `${Object.keys(EventType)[type]} ${told.metadata.name}`
  }
  assert.equal(await change(component('store')), 'CREATED store')
  assert.equal(await change(component('store', { spec: { type: 'state.redis', version: 'v1' } })), 'UPDATED store')
  assert.equal(await change(component('store', { scopes: ['payments'] })), 'DELETED store')
  assert.equal(await change(component('store', { scopes: ['payments', 'orders'] })), 'CREATED store')
  api.store.delete('dapr.io/components', 'default', 'store')
  assert.equal((await components.next()).type, EventType.DELETED)
  for (const name of ['other', 'mine']) await api.apply(configuration(name, { tracing: { samplingRate: '1' } }))
  assert.equal((await configurations.next()).object.metadata.name, 'mine')
})

test('an API server that is away, or ends its watches at once, takes nothing from sidecars and is not asked in a rush', async () => {
  await using at = await place('--disable-leader-election', '--disable-service-reconciler')
  const { api, operator } = at
  await using orders = await sidecar(at, 'default', 'orders')
  await api.apply(component('store'))
  await until(
    () => orders.list('Component'),
    (list) => list.length === 1,
  )
  const components = orders.watch('Component')
  await orders.list('Component')
  const away = operator.next(/components is not followed at the moment/)
  await api.close()
  await away
  assert.equal((await orders.list('Component')).length, 1)
  // What happened meanwhile is told afterwards.
  api.store.create('dapr.io/components', component('second'))
  api.store.delete('dapr.io/components', 'default', 'store')
  await api.open()
  const told = [await components.next(), await components.next()].map(({ type, object }) => `${type} ${object.metadata.name}`)
  assert.deepEqual(told.sort(), [`${EventType.CREATED} second`, `${EventType.DELETED} store`].sort())

  api.watchLife = 1
  api.requests.clear()
  const began = performance.now()
  for (let index = 0; index < 5; index++) {
    await api.apply(component(`more-${index}`))
    await components.next()
  }
  const seconds = (performance.now() - began) / 1000
  const asked = (api.requests.get('watch dapr.io/components') ?? 0) + (api.requests.get('list dapr.io/components') ?? 0)
  assert.ok(asked < 20 + seconds * 20, `${asked} requests in ${seconds} s`)
})

test('a headless Service for each app, made anew and kept right by the one operator that leads', async () => {
  await using at = await place()
  const { api } = at
  const annotations = {
    'dapr.io/enabled': 'true',
    'dapr.io/app-id': 'orders',
    'dapr.io/sidecar-svc-annotations': 'team=a,dapr.io/app-id=x',
  }
  const deployment = (more: object = {}) => ({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'orders', namespace: 'default' },
    spec: { selector: { matchLabels: { app: 'orders' } }, template: { metadata: { annotations: { ...annotations, ...more } } } },
  })
  const service = () => api.store.get('/services', 'default', 'orders-dapr')
  const changed = (good: () => boolean) =>
    new Promise<void>((resolve) => {
      const following = api.store.follow(api.store.version, () => {
        if (!good()) return
        following[Symbol.dispose]()
        resolve()
      })
      if (good()) resolve()
    })
  await api.apply(deployment())
  await changed(() => service() !== undefined)
  const { metadata, spec } = service() ?? assert.fail()
  assert.deepEqual(metadata.annotations, {
    'dapr.io/app-id': 'orders',
    'prometheus.io/probe': 'true',
    'prometheus.io/scrape': 'true',
    'prometheus.io/port': '9090',
    'prometheus.io/path': '/',
    team: 'a',
  })
  assert.deepEqual(spec.selector, { app: 'orders' })
  assert.equal(spec.clusterIP, 'None')
  assert.deepEqual(
    spec.ports.map(({ name, port }: { name: string; port: number }) => `${name} ${port}`),
    ['dapr-http 80', 'dapr-grpc 50001', 'dapr-internal 50002', 'dapr-metrics 9090'],
  )
  const lease = () => api.store.get('coordination.k8s.io/leases', NAMESPACE, 'operator.dapr.io')?.spec
  const holder = lease().holderIdentity
  // A second one serves, but does not lead until the first gives its Lease back.
  const second = await at.start()
  try {
    await changed(() => (api.requests.get('get coordination.k8s.io/leases') ?? 0) > 2)
    assert.equal(lease().holderIdentity, holder)
    await at.operator[Symbol.asyncDispose]()
    await changed(() => lease().holderIdentity !== '' && lease().holderIdentity !== holder)
    await api.apply(deployment({ 'dapr.io/metrics-port': '9099' }))
    await changed(() => service()?.metadata.annotations?.['prometheus.io/port'] === '9099')
  } finally {
    await second[Symbol.asyncDispose]()
  }
})

test('Subscriptions are converted between their versions', () => {
  const convert = (object: object, desiredAPIVersion: string) => {
    const request = { uid: 'one', desiredAPIVersion, objects: [object] }
    return convertReview({ apiVersion: 'apiextensions.k8s.io/v1', kind: 'ConversionReview', request }) as {
      response: { uid: string; convertedObjects: unknown[]; result: { status: string } }
    }
  }
  const [v1, v2] = ['dapr.io/v1alpha1', 'dapr.io/v2alpha1']
  const older = { apiVersion: v1, kind: 'Subscription', metadata: { name: 's' }, spec: { topic: 't', pubsubname: 'p', route: '/r' } }
  const newer = { ...older, apiVersion: v2, spec: { topic: 't', pubsubname: 'p', routes: { default: '/r' } } }
  assert.deepEqual(convert(older, v2 as string).response, { uid: 'one', convertedObjects: [newer], result: { status: 'Success' } })
  assert.deepEqual(convert(newer, v1 as string).response.convertedObjects, [older])
  assert.equal(convert(older, 'dapr.io/v9').response.result.status, 'Failure')
})

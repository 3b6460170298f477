import { isDeepStrictEqual } from 'node:util'
import { type Cluster, ClusterError } from '../../components/kubernetes/cluster.ts'
import { isTruthy } from '../../components/metadata.ts'
import { messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import { Informer, type KubeObject } from '../informer.ts'
import { annotationOf } from './annotation.ts'

/** What runs pods that may have a sidecar. */
export interface Workload {
  readonly apiVersion: string
  readonly kind: string
  readonly namespace: string
  readonly name: string
  readonly uid: string
  readonly selector: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
}

const APP_ID = /^[a-z0-9]([-a-z0-9]{0,56}[a-z0-9])?$/
/** Milliseconds after which a Service that could not be made is tried again. */
const RETRY = 30_000

const KINDS = [
  { apiVersion: 'apps/v1', kind: 'Deployment', plural: 'deployments' },
  { apiVersion: 'apps/v1', kind: 'StatefulSet', plural: 'statefulsets' },
]
const ROLLOUT = { apiVersion: 'argoproj.io/v1alpha1', kind: 'Rollout', plural: 'rollouts' }

/** The workloads whose pods get a sidecar. */
export function workloadInformers(cluster: Cluster, namespace: string, rollouts: boolean, log: Logger): Informer<Workload>[] {
  return [...KINDS, ...(rollouts ? [ROLLOUT] : [])].map(({ apiVersion, kind, plural }) => {
    const path = `/apis/${apiVersion}${namespace === '' ? '' : `/namespaces/${encodeURIComponent(namespace)}`}/${plural}`
    return new Informer<Workload>({ cluster, path, log, keep: (object) => workloadOf(apiVersion, kind, object) })
  })
}

function workloadOf(apiVersion: string, kind: string, { metadata, spec }: KubeObject): Workload | undefined {
  type Spec = { selector?: { matchLabels?: Record<string, string> }; template?: { metadata?: { annotations?: Record<string, string> } } }
  const { selector, template } = (spec ?? {}) as Spec
  const annotations = template?.metadata?.annotations ?? {}
  if (!isTruthy(annotationOf(annotations, 'enabled'))) return undefined
  const { name, namespace = '', uid = '' } = metadata
  const ours = Object.fromEntries(Object.entries(annotations).filter(([key]) => /^(dapr\.io|outrider\.dev)\//.test(key)))
  return { apiVersion, kind, namespace, name, uid, selector: selector?.matchLabels ?? {}, annotations: ours }
}

/** The Service by which sidecars find an app. Throws when its app id can be no name. */
export function serviceOf({ apiVersion, kind, namespace, name, uid, selector, annotations }: Workload) {
  const wish = (key: string) => annotationOf(annotations, key)
  const port = (key: string, otherwise: number) => (/^[1-9]\d*$/.test(wish(key) ?? '') ? Number(wish(key)) : otherwise)
  const appId = wish('app-id') ?? ''
  if (!APP_ID.test(appId))
    throw new Error(`the app id "${appId}" of the ${kind} ${namespace}/${name} can be no Service: at most 58 of a-z, 0-9 and -`)
  const metrics = port('metrics-port', 9090)
  const own: Record<string, string> = { 'dapr.io/app-id': appId }
  if (isTruthy(wish('enable-metrics') || 'true'))
    Object.assign(own, {
      'prometheus.io/probe': 'true',
      'prometheus.io/scrape': 'true',
      'prometheus.io/port': String(metrics),
      'prometheus.io/path': '/',
    })
  for (const pair of (wish('sidecar-svc-annotations') ?? '').split(',')) {
    const [, key, value] = /^\s*([^=\s]+)\s*=\s*(.*?)\s*$/s.exec(pair) ?? []
    if (key !== undefined && value !== undefined && !Object.hasOwn(own, key)) own[key] = value
  }
  const ports = [
    { name: 'dapr-http', port: 80, targetPort: 3500, protocol: 'TCP' },
    ...(
      [
        ['dapr-grpc', port('grpc-port', 50001)],
        ['dapr-internal', port('internal-grpc-port', 50002)],
        ['dapr-metrics', metrics],
      ] as const
    ).map(([each, number]) => ({ name: each, port: number, targetPort: number, protocol: 'TCP' })),
  ]
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      name: `${appId}-dapr`,
      namespace,
      labels: { 'dapr.io/enabled': 'true' },
      annotations: own,
      ownerReferences: [{ apiVersion, kind, name, uid, controller: true, blockOwnerDeletion: true }],
    },
    spec: { clusterIP: 'None', selector, ports },
  }
}

type Service = ReturnType<typeof serviceOf> & { metadata: { resourceVersion?: string } }

/** Keeps the Services of all workloads as they should be, until the signal. Does not reject. */
export async function reconcileServices(
  cluster: Cluster,
  informers: readonly Informer<Workload>[],
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  const due = new Map<string, Workload>()
  let wake = Promise.withResolvers<void>()
  const add = (workload: Workload) => {
    due.set(`${workload.kind}/${workload.namespace}/${workload.name}`, workload)
    wake.resolve()
  }
  const following = informers.map((informer) => informer.subscribe((change) => change.type !== 'deleted' && add(change.object)))
  for (const informer of informers) for (const workload of informer.values()) add(workload)
  const ended = new Promise<void>((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
  const timers = new Set<NodeJS.Timeout>()
  while (!signal.aborted) {
    const [next] = due
    if (!next) {
      await Promise.race([wake.promise, ended])
      wake = Promise.withResolvers()
      continue
    }
    const [key, workload] = next
    due.delete(key)
    try {
      await ensure(cluster, serviceOf(workload), log, signal)
    } catch (error) {
      if (signal.aborted) break
      log.error(`no Service for the ${workload.kind} ${workload.namespace}/${workload.name}: ${messageOf(error)}`)
      const timer = setTimeout(() => {
        timers.delete(timer)
        // Unless it changed, or went, meanwhile.
        if ([...informers].some((informer) => [...informer.values()].includes(workload))) add(workload)
      }, RETRY)
      timers.add(timer)
    }
  }
  for (const timer of timers) clearTimeout(timer)
  for (const each of following) each[Symbol.dispose]()
}

async function ensure(cluster: Cluster, wanted: Service, log: Logger, signal: AbortSignal): Promise<void> {
  const { namespace, name } = wanted.metadata
  const collection = `/api/v1/namespaces/${encodeURIComponent(namespace)}/services`
  const found = (await cluster.get(`${collection}/${name}`, signal)) as Service | undefined
  if (!found) {
    await cluster.create(collection, wanted, signal).catch((error: unknown) => {
      // Another operator was faster.
      if (!(error instanceof ClusterError && error.status === 409)) throw error
    })
    log.debug(`made the Service ${namespace}/${name}`)
    return
  }
  const shown = ({ metadata, spec }: Service) => ({
    annotations: Object.fromEntries(Object.keys(wanted.metadata.annotations).map((key) => [key, metadata.annotations?.[key]])),
    owners: metadata.ownerReferences?.map(({ uid }) => uid),
    selector: spec.selector,
    ports: spec.ports?.map(({ name: of, port, targetPort }) => ({ of, port, targetPort })),
  })
  if (isDeepStrictEqual(shown(found), shown(wanted))) return
  const labels = { ...found.metadata.labels, ...wanted.metadata.labels }
  const annotations = { ...found.metadata.annotations, ...wanted.metadata.annotations }
  const metadata = { ...found.metadata, labels, annotations, ownerReferences: wanted.metadata.ownerReferences }
  await cluster.replace(`${collection}/${name}`, { ...found, metadata, spec: { ...found.spec, ...wanted.spec } }, signal)
  log.debug(`updated the Service ${namespace}/${name}`)
}

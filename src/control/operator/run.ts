import { setTimeout as delay } from 'node:timers/promises'
import { Cluster } from '../../components/kubernetes/cluster.ts'
import { messageOf } from '../../errors.ts'
import type { OperatorKindName } from '../../resources/operator/messages.ts'
import { Gauge } from '../../telemetry/labelled.ts'
import { createGrpcServer } from '../../transport/grpc/server.ts'
import { aborted } from '../../waiting.ts'
import { Informer } from '../informer.ts'
import { leadWhileElected } from '../leader.ts'
import { openOwnIdentity } from '../own-identity.ts'
import { patiently } from '../patiently.ts'
import type { ProgramContext } from '../program.ts'
import { openSideServer } from '../side-server.ts'
import { openWebhookServer } from '../webhook-server.ts'
import { OperatorApi } from './api.ts'
import { convertReview, publishConversion } from './conversion.ts'
import type { OPERATOR_FLAGS } from './flags.ts'
import { COLLECTIONS, collectionPath } from './kinds.ts'
import { podInformer } from './pods.ts'
import { SecretReader } from './secrets.ts'
import { reconcileServices, workloadInformers } from './services.ts'
import { watchdogInterval, watchPods } from './watchdog.ts'

/** Bytes of one list. */
const LARGEST = 64 << 20
/** Dapr's, so that an operator of theirs and one of ours do not lead at the same time. */
const LEASE = 'operator.dapr.io'

/** The operator from its start until the signal. Rejects when it cannot start. */
export async function runOperator({ flags, env, log, signal }: ProgramContext<typeof OPERATOR_FLAGS>): Promise<void> {
  watchdogInterval(flags['watch-interval'])
  const namespace = env.NAMESPACE || 'default'
  const watched = flags['watch-namespace']
  const missing = new Set(['identity', 'resources', 'server', ...(webhooks(env) ? ['webhook'] : [])])
  const streams = new Gauge('outrider_operator_streams', 'Streams of changes that sidecars have open.', [])
  await using open = new AsyncDisposableStack()
  let api: OperatorApi | undefined
  const text = () => {
    streams.set(api?.streams ?? 0)
    return streams.text()
  }
  open.use(
    await openSideServer({
      healthz: { host: flags['healthz-listen-address'], port: flags['healthz-port'] },
      metrics: flags['enable-metrics'] ? { host: flags['metrics-listen-address'], port: flags['metrics-port'], text } : undefined,
      missing: () => [...missing],
      log,
    }),
  )
  const cluster = open.use(await Cluster.open(flags.kubeconfig, env))
  const { trustDomain, sentryAddress } = await patiently(() => settings(cluster, namespace, flags.config, signal), log, signal)
  const trustAnchorsFile = flags['trust-anchors-file']
  const identity = open.use(
    await openOwnIdentity({ appId: 'dapr-operator', namespace, trustDomain, trustAnchorsFile, sentryAddress, env, log }, signal),
  )
  missing.delete('identity')

  const following = new AbortController()
  const kinds = Object.keys(COLLECTIONS) as OperatorKindName[]
  const informers = Object.fromEntries(
    kinds.map((kind) => [kind, new Informer({ cluster, path: collectionPath(kind, watched), log })]),
  ) as Record<OperatorKindName, Informer>
  const pods = podInformer(cluster, watched, log)
  const services = !flags['disable-service-reconciler']
  const workloads = services ? workloadInformers(cluster, watched, flags['enable-argo-rollout-service-reconciler'], log) : []
  const running = [...Object.values(informers), pods, ...workloads].map((informer) => informer.run(following.signal))

  api = new OperatorApi({
    informers,
    secrets: new SecretReader(cluster),
    configurationOf(of, appId) {
      for (const pod of pods.values()) if (pod.namespace === of && pod.appId === appId) return pod.config
      return ''
    },
    log,
  })
  const server = createGrpcServer({ methods: api.methods, maxMessageSize: LARGEST })
  open.defer(() => server.close(1000))
  open.defer(async () => {
    following.abort()
    await Promise.all(running)
  })
  await Promise.race([Promise.all([...Object.values(informers), pods].map(({ ready }) => ready)), aborted(signal)])
  missing.delete('resources')
  const port = await server.listen({ host: flags['listen-address'] || undefined, port: flags.port, mutual: identity })
  missing.delete('server')
  log.info(`the operator listens on port ${port}`)

  const lead = async (until: AbortSignal) => {
    const watchdog = {
      cluster,
      namespace: watched,
      ownNamespace: namespace,
      interval: flags['watch-interval'],
      maxPerMinute: flags['max-pod-restarts-per-minute'],
      mayLabel: flags['watchdog-can-patch-pod-labels'],
      log,
    }
    await Promise.all([reconcileServices(cluster, workloads, log, until), watchPods(watchdog, until)])
  }
  const work = [flags['disable-leader-election'] ? lead(signal) : leadWhileElected({ cluster, namespace, name: LEASE, lead, log }, signal)]
  if (webhooks(env)) {
    const host = flags['webhook-server-listen-address']
    const routes = new Map([['/convert', async (body: unknown) => convertReview(body)]])
    open.use(await openWebhookServer({ host, port: flags['webhook-server-port'], identity, routes }))
    missing.delete('webhook')
    work.push(keepConversion(cluster, namespace, identity, log, signal))
  }
  await Promise.all([...work, aborted(signal)])
}

/** Somebody who converts Subscriptions elsewhere says so. */
function webhooks(env: NodeJS.ProcessEnv): boolean {
  return env.ENABLE_WEBHOOKS?.toLowerCase() !== 'false'
}

async function settings(cluster: Cluster, namespace: string, name: string, signal: AbortSignal) {
  const path = `/apis/dapr.io/v1alpha1/namespaces/${encodeURIComponent(namespace)}/configurations/${encodeURIComponent(name)}`
  type Found = { spec?: { mtls?: { controlPlaneTrustDomain?: string; sentryAddress?: string } } } | undefined
  const found = (await cluster.get(path, signal)) as Found
  if (!found) throw new Error(`there is no Configuration ${name} in the namespace ${namespace}; install the control plane's manifests`)
  const { controlPlaneTrustDomain, sentryAddress } = found.spec?.mtls ?? {}
  return {
    trustDomain: controlPlaneTrustDomain || 'cluster.local',
    sentryAddress: sentryAddress || `dapr-sentry.${namespace}.svc:443`,
  }
}

/** Tells the API server our trust anchors now and then: whoever replaces the definition takes them out of it. */
async function keepConversion(
  cluster: Cluster,
  namespace: string,
  identity: { readonly trustAnchors: string },
  log: ProgramContext<typeof OPERATOR_FLAGS>['log'],
  signal: AbortSignal,
): Promise<void> {
  let failures = 0
  while (!signal.aborted) {
    try {
      await publishConversion(cluster, namespace, identity.trustAnchors, signal)
      failures = 0
    } catch (error) {
      if (signal.aborted) return
      if (failures++ === 0) log.warn(`Subscriptions of the older version are not converted: ${messageOf(error)}`)
    }
    await delay(failures === 0 ? 60_000 : Math.min(30_000, 500 * 2 ** failures), undefined, { signal }).catch(() => {})
  }
}

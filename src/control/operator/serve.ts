import type { Cluster } from '../../components/kubernetes/cluster.ts'
import { messageOf } from '../../errors.ts'
import type { OperatorKindName } from '../../resources/operator/messages.ts'
import type { Logger } from '../../telemetry/log.ts'
import { createGrpcServer } from '../../transport/grpc/server.ts'
import type { WorkloadIdentity } from '../../transport/identity/workload-identity.ts'
import { aborted } from '../../waiting.ts'
import type { FlagValues } from '../flags.ts'
import { followAll, Informer } from '../informer.ts'
import { keepPublished } from '../keep-published.ts'
import { leadWhileElected } from '../leader.ts'
import { openWebhookServer } from '../webhook-server.ts'
import { OperatorApi } from './api.ts'
import { convertReview, publishConversion } from './conversion.ts'
import type { OPERATOR_FLAGS } from './flags.ts'
import { COLLECTIONS, collectionPath } from './kinds.ts'
import type { OperatorMetrics } from './metrics.ts'
import { OwnResources } from './own-resources.ts'
import { podInformer } from './pods.ts'
import { SecretReader } from './secrets.ts'
import { reconcileServices, workloadInformers } from './services.ts'
import { watchPods } from './watchdog.ts'

/** Bytes of one list. */
const LARGEST = 64 << 20
/** Dapr's, so that an operator of theirs and one of ours do not lead at the same time. */
const LEASE = 'operator.dapr.io'

export type OperatorInformers = Readonly<Record<OperatorKindName, Informer>>

export interface OperatorOptions {
  flags: FlagValues<typeof OPERATOR_FLAGS>
  env: NodeJS.ProcessEnv
  /** Of the control plane. */
  namespace: string
  cluster: Cluster
  identity: WorkloadIdentity
  /** Of the resources that sidecars are given; they run already. */
  informers: OperatorInformers
  metrics: OperatorMetrics
  /** What it still waits for; parts leave it as they come. */
  missing: Set<string>
  log: Logger
}

/** What `missing` begins with. */
export function operatorParts(env: NodeJS.ProcessEnv): string[] {
  return ['resources', 'server', ...(webhooks(env) ? ['conversion webhook'] : [])]
}

/** One for each kind, of a namespace or of all. */
export function operatorInformers(cluster: Cluster, watched: string, log: Logger): OperatorInformers {
  const kinds = Object.keys(COLLECTIONS) as OperatorKindName[]
  const made = kinds.map((kind) => [kind, new Informer({ cluster, path: collectionPath(kind, watched), log })])
  return Object.fromEntries(made) as OperatorInformers
}

/** Serves sidecars until the signal, and leads when it is elected. Rejects when it cannot listen. */
export async function serveOperator(options: OperatorOptions, signal: AbortSignal): Promise<void> {
  const { flags, env, namespace, cluster, identity, informers, metrics, missing, log } = options
  const watched = flags['watch-namespace']
  await using open = new AsyncDisposableStack()
  const work: Promise<void>[] = []
  // Before anything is waited for: an API server may need it to list Subscriptions.
  if (webhooks(env)) {
    const host = flags['webhook-server-listen-address']
    const routes = new Map([['/convert', async (body: unknown) => convertReview(body)]])
    const webhook = open.use(await openWebhookServer({ host, port: flags['webhook-server-port'], identity, routes }))
    log.debug(`Subscriptions are converted at port ${webhook.port}`)
    missing.delete('conversion webhook')
    const published = {
      identity,
      publish: (trustAnchors: string) => publishConversion(cluster, namespace, trustAnchors, signal),
      onFailure: (error: unknown, times: number) =>
        times === 1 && log.warn(`Subscriptions of the older version are not converted: ${messageOf(error)}`),
    }
    work.push(keepPublished(published, signal))
  }
  const pods = podInformer(cluster, watched, log)
  const services = !flags['disable-service-reconciler']
  const workloads = services ? workloadInformers(cluster, watched, flags['enable-argo-rollout-service-reconciler'], log) : []
  const own = new OwnResources({ cluster, namespace: watched, log })
  open.use(followAll([pods, own, ...workloads]))

  const api = new OperatorApi({
    informers,
    own,
    secrets: new SecretReader(cluster),
    configurationOf(of, appId) {
      for (const pod of pods.values()) if (pod.namespace === of && pod.appId === appId) return pod.config
      return ''
    },
    log,
  })
  metrics.follow(() => api.streams)
  const server = createGrpcServer({ methods: api.methods, maxMessageSize: LARGEST })
  open.defer(() => server.close(1000))
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
  work.push(flags['disable-leader-election'] ? lead(signal) : leadWhileElected({ cluster, namespace, name: LEASE, lead, log }, signal))
  await Promise.all([...work, aborted(signal)])
}

/** Somebody who converts Subscriptions elsewhere says so. */
function webhooks(env: NodeJS.ProcessEnv): boolean {
  return env.ENABLE_WEBHOOKS?.toLowerCase() !== 'false'
}

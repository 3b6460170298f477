import type { Cluster } from '../../components/kubernetes/cluster.ts'
import { messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import { findToken } from '../../transport/identity/token.ts'
import type { WorkloadIdentity } from '../../transport/identity/workload-identity.ts'
import type { FlagValues } from '../flags.ts'
import { keepPublished } from '../keep-published.ts'
import type { ResourceView } from '../resource-view.ts'
import { TimedValue } from '../timed-value.ts'
import { openWebhookServer } from '../webhook-server.ts'
import { type AdmissionContext, review } from './admission.ts'
import { componentContainers } from './components.ts'
import type { InjectorEnvironment } from './environment.ts'
import type { INJECTOR_FLAGS } from './flags.ts'
import type { injectorMetrics } from './metrics.ts'
import { requesterCheck } from './requesters.ts'
import { EVERY_POD, publishCaBundle } from './webhook-configuration.ts'

/** Milliseconds that the mesh's settings are believed. */
const SETTINGS_LIFE = 5_000

export interface InjectorOptions {
  flags: FlagValues<typeof INJECTOR_FLAGS>
  environment: InjectorEnvironment
  cluster: Cluster
  identity: WorkloadIdentity
  resources: ResourceView
  metrics: ReturnType<typeof injectorMetrics>
  /** What it still waits for; parts leave it as they come. */
  missing: Set<string>
  log: Logger
}

export const INJECTOR_PARTS = ['webhook', 'webhook configuration']

/** Serves the webhook until the signal. Rejects when it cannot listen. */
export async function serveInjector(options: InjectorOptions, signal: AbortSignal): Promise<void> {
  const { flags, environment, cluster, identity, resources, metrics, missing, log } = options
  const mayInject = requesterCheck(environment.allowedServiceAccounts)
  const mtls = new TimedValue(() => mtlsOf(resources, environment.namespace, log, signal), SETTINGS_LIFE)
  const tokenVolume = findToken(undefined, 'kubernetes') !== undefined
  const context: AdmissionContext = {
    mayInject,
    platform: async (podNamespace) => ({
      environment,
      podNamespace,
      trustAnchors: identity.trustAnchors,
      mtls: await mtls.get(),
      schedulerEnabled: flags['scheduler-enabled'],
      tokenVolume,
    }),
    async componentContainers(namespace, appId) {
      return componentContainers(await resources.components(namespace, signal), appId, log)
    },
    log,
    count: metrics,
  }
  const mutate = (everyPod: boolean) => (body: unknown) => {
    metrics.request()
    return review(body, context, everyPod)
  }
  await using server = await openWebhookServer({
    host: flags['listen-address'],
    port: flags.port,
    identity,
    routes: new Map([
      ['/mutate', mutate(false)],
      [EVERY_POD, mutate(true)],
    ]),
  })
  missing.delete('webhook')
  log.info(`Sidecar injector is listening on port ${server.port}, patching Dapr-enabled pods`)
  const published = {
    identity,
    publish: (trustAnchors: string) => publishCaBundle(cluster, trustAnchors, signal),
    onPublished: () => void missing.delete('webhook configuration'),
    onFailure: (error: unknown) => log.warn(`the webhook configuration is not up to date: ${messageOf(error)}`),
  }
  await keepPublished(published, signal)
}

/** Whether sidecars speak mTLS: Configuration `daprsystem`; yes when it cannot be read. */
async function mtlsOf(resources: ResourceView, namespace: string, log: Logger, signal: AbortSignal): Promise<boolean> {
  try {
    const configuration = await resources.configuration(namespace, 'daprsystem', signal)
    const { mtls } = (configuration?.spec ?? {}) as { mtls?: { enabled?: boolean } }
    return mtls?.enabled !== false
  } catch (error) {
    log.error(`the configuration daprsystem cannot be read, so sidecars are told to use mTLS: ${messageOf(error)}`)
    return true
  }
}

import { readFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { Cluster } from '../../components/kubernetes/cluster.ts'
import { messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import { findToken } from '../../transport/identity/token.ts'
import { COMMON_FLAGS, type ControlFlags } from '../flags.ts'
import { openOwnIdentity } from '../own-identity.ts'
import type { ProgramContext } from '../program.ts'
import { openSideServer } from '../side-server.ts'
import { TimedValue } from '../timed-value.ts'
import { openWebhookServer } from '../webhook-server.ts'
import { type AdmissionContext, review } from './admission.ts'
import { componentContainers } from './components.ts'
import { readEnvironment } from './environment.ts'
import { injectorMetrics } from './metrics.ts'
import { requesterCheck } from './requesters.ts'
import { EVERY_POD, publishCaBundle } from './webhook-configuration.ts'

/** Dapr's flags. */
export const INJECTOR_FLAGS = {
  ...COMMON_FLAGS,
  port: { kind: 'port', default: 4000, description: 'Port of the admission webhook.' },
  'listen-address': { kind: 'text', default: '', description: 'Address of the admission webhook; empty: all.' },
  'scheduler-enabled': { kind: 'switch', default: true, description: 'There is a scheduler; sidecars get its address.' },
} as const satisfies ControlFlags

/** Milliseconds that the mesh's settings are believed. */
const SETTINGS_LIFE = 5_000

/** The injector, from its start until the signal. Rejects when it cannot start. */
export async function runInjector({ flags, env, log, signal }: ProgramContext<typeof INJECTOR_FLAGS>): Promise<void> {
  const environment = readEnvironment(env, await readFile('/etc/resolv.conf', 'utf8').catch(() => ''), log)
  const mayInject = requesterCheck(environment.allowedServiceAccounts)
  const metrics = injectorMetrics()
  const missing = new Set(['identity', 'webhook', 'webhook configuration'])
  await using _side = await openSideServer({
    healthz: { host: flags['healthz-listen-address'], port: flags['healthz-port'] },
    metrics: flags['enable-metrics']
      ? { host: flags['metrics-listen-address'], port: flags['metrics-port'], text: metrics.text }
      : undefined,
    missing: () => [...missing],
    log,
  })
  await using cluster = await Cluster.open(flags.kubeconfig, env)
  using identity = await openOwnIdentity({ appId: 'dapr-injector', ...environment, env, log }, signal)
  missing.delete('identity')

  const mtls = new TimedValue(() => mtlsOf(cluster, environment.namespace, log), SETTINGS_LIFE)
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
      const path = `/apis/dapr.io/v1alpha1/namespaces/${encodeURIComponent(namespace)}/components`
      const list = (await cluster.get(path, signal)) as { items?: [] } | undefined
      return componentContainers(list?.items ?? [], appId, log)
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
  await keepPublished(cluster, identity, () => missing.delete('webhook configuration'), log, signal)
}

/** Tells the API server our trust anchors now and after each change of them, until the signal. */
async function keepPublished(
  cluster: Cluster,
  identity: { readonly trustAnchors: string; onChange: (() => void) | undefined },
  onPublished: () => void,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  let published = ''
  let failures = 0
  while (!signal.aborted) {
    const anchors = identity.trustAnchors
    if (published !== anchors) {
      try {
        await publishCaBundle(cluster, anchors, signal)
        published = anchors
        failures = 0
        onPublished()
        continue
      } catch (error) {
        if (signal.aborted) return
        failures++
        log.warn(`the webhook configuration is not up to date: ${messageOf(error)}`)
      }
    }
    const wake = new AbortController()
    identity.onChange = () => wake.abort()
    // Whoever replaces the object, an upgrade say, takes our certificates out of it: look again now and then.
    const wait = published === anchors ? 60_000 : Math.min(30_000, 500 * 2 ** failures)
    await delay(wait, undefined, { signal: AbortSignal.any([signal, wake.signal]) }).catch(() => {})
    if (published === anchors && !wake.signal.aborted) published = ''
  }
}

/** Whether sidecars speak mTLS: Configuration `daprsystem`; yes when it cannot be read. */
async function mtlsOf(cluster: Cluster, namespace: string, log: Logger): Promise<boolean> {
  try {
    const path = `/apis/dapr.io/v1alpha1/namespaces/${encodeURIComponent(namespace)}/configurations/daprsystem`
    const configuration = (await cluster.get(path)) as { spec?: { mtls?: { enabled?: boolean } } } | undefined
    return configuration?.spec?.mtls?.enabled !== false
  } catch (error) {
    log.error(`the configuration daprsystem cannot be read, so sidecars are told to use mTLS: ${messageOf(error)}`)
    return true
  }
}

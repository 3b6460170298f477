import { readFile } from 'node:fs/promises'
import { Cluster } from '../../components/kubernetes/cluster.ts'
import type { Logger } from '../../telemetry/log.ts'
import type { WorkloadIdentity } from '../../transport/identity/workload-identity.ts'
import { followAll } from '../informer.ts'
import { readEnvironment } from '../injector/environment.ts'
import { injectorMetrics } from '../injector/metrics.ts'
import { requesterCheck } from '../injector/requesters.ts'
import { INJECTOR_PARTS, serveInjector } from '../injector/serve.ts'
import { operatorMetrics } from '../operator/metrics.ts'
import { operatorInformers, operatorParts, serveOperator } from '../operator/serve.ts'
import { meshSettings } from '../operator/settings.ts'
import { watchdogInterval } from '../operator/watchdog.ts'
import { openOwnIdentity } from '../own-identity.ts'
import { patiently } from '../patiently.ts'
import { askedView, followedView } from '../resource-view.ts'
import { localIdentity } from '../sentry/local-identity.ts'
import { sentryMetrics } from '../sentry/metrics.ts'
import { openSentry, type Sentry } from '../sentry/open.ts'
import { openSideServer } from '../side-server.ts'
import type { TogetherFlags } from './flags.ts'

export interface TogetherOptions {
  flags: TogetherFlags
  env: NodeJS.ProcessEnv
  log: Logger
  signal: AbortSignal
}

/**
 * Authority, operator and injector in one process, each unless its flag says no, until the signal: with one client of the API
 * server, one identity, one set of informers, one page of metrics and of health. Each serves from the start; a Lease decides only
 * who does the operator's work on the cluster. Rejects when one of them cannot start or fails; the others end with it.
 */
export async function runTogether({ flags, env, log, signal: told }: TogetherOptions): Promise<void> {
  const { common, wanted } = flags
  const failed = new AbortController()
  const signal = AbortSignal.any([told, failed.signal])
  const namespace = env.NAMESPACE || 'default'
  // What is wrong with flags and environment is said before anything listens.
  watchdogInterval(flags.operator['watch-interval'])
  const environment = wanted.injector ? readEnvironment(env, await readFile('/etc/resolv.conf', 'utf8').catch(() => ''), log) : undefined
  requesterCheck(environment?.allowedServiceAccounts ?? [])

  const metrics = { sentry: sentryMetrics(), operator: operatorMetrics(), injector: injectorMetrics() }
  const shown = Object.entries(metrics).flatMap(([name, { text }]) => (wanted[name as keyof typeof wanted] ? [text] : []))
  const programs = [...(wanted.operator ? ['dapr-operator'] : []), ...(wanted.injector ? ['dapr-injector'] : [])]
  const missing = new Set([
    ...(wanted.sentry ? ['authority'] : []),
    ...(programs.length > 0 ? ['identity'] : []),
    ...(wanted.operator ? operatorParts(env) : []),
    ...(wanted.injector ? INJECTOR_PARTS : []),
  ])
  await using open = new AsyncDisposableStack()
  open.use(
    await openSideServer({
      healthz: { host: common['healthz-listen-address'], port: common['healthz-port'] },
      metrics: common['enable-metrics']
        ? { host: common['metrics-listen-address'], port: common['metrics-port'], text: () => shown.map((text) => text()).join('') }
        : undefined,
      missing: () => [...missing],
      log,
    }),
  )
  const cluster = open.use(await Cluster.open(common.kubeconfig, env))
  let sentry: Sentry | undefined
  if (wanted.sentry) {
    sentry = open.use(await openSentry({ flags: flags.sentry, env, cluster, metrics: metrics.sentry, log }, signal))
    missing.delete('authority')
  }
  let identity: WorkloadIdentity | undefined
  if (programs.length > 0) {
    identity = open.use(await (sentry ? localIdentity(sentry, programs, log) : askedIdentity()))
    missing.delete('identity')
  }

  const asked = askedView(cluster)
  const informers = wanted.operator ? operatorInformers(cluster, flags.operator['watch-namespace'], log) : undefined
  if (informers) open.use(followAll(Object.values(informers)))
  // An operator of one namespace knows nothing of the pods of others.
  const resources = informers && flags.operator['watch-namespace'] === '' ? followedView(informers, asked) : asked
  const parts = [
    informers &&
      identity &&
      serveOperator(
        { flags: flags.operator, env, namespace, cluster, identity, informers, metrics: metrics.operator, missing, log },
        signal,
      ),
    environment &&
      identity &&
      serveInjector({ flags: flags.injector, environment, cluster, identity, resources, metrics: metrics.injector, missing, log }, signal),
    new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true })),
  ]
  const ended = await Promise.allSettled(
    parts.map((part) =>
      Promise.resolve(part).catch((error: unknown) => {
        failed.abort(error)
        throw error
      }),
    ),
  )
  for (const each of ended) if (each.status === 'rejected') throw each.reason

  async function askedIdentity(): Promise<WorkloadIdentity> {
    const { trustDomain, sentryAddress } = await patiently(
      () => meshSettings(cluster, namespace, flags.operator.config, signal),
      log,
      signal,
    )
    const trustAnchorsFile = wanted.operator ? flags.operator['trust-anchors-file'] : (environment?.trustAnchorsFile ?? '')
    const appId = programs[0] as string
    return openOwnIdentity({ appId, namespace, trustDomain, trustAnchorsFile, sentryAddress, env, log }, signal)
  }
}

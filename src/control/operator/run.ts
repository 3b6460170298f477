import { Cluster } from '../../components/kubernetes/cluster.ts'
import { followAll } from '../informer.ts'
import { openOwnIdentity } from '../own-identity.ts'
import { patiently } from '../patiently.ts'
import type { ProgramContext } from '../program.ts'
import { openSideServer } from '../side-server.ts'
import type { OPERATOR_FLAGS } from './flags.ts'
import { operatorMetrics } from './metrics.ts'
import { operatorInformers, operatorParts, serveOperator } from './serve.ts'
import { meshSettings } from './settings.ts'
import { watchdogInterval } from './watchdog.ts'

/** The operator from its start until the signal. Rejects when it cannot start. */
export async function runOperator({ flags, env, log, signal }: ProgramContext<typeof OPERATOR_FLAGS>): Promise<void> {
  watchdogInterval(flags['watch-interval'])
  const namespace = env.NAMESPACE || 'default'
  const missing = new Set(['identity', ...operatorParts(env)])
  const metrics = operatorMetrics()
  await using open = new AsyncDisposableStack()
  open.use(
    await openSideServer({
      healthz: { host: flags['healthz-listen-address'], port: flags['healthz-port'] },
      metrics: flags['enable-metrics']
        ? { host: flags['metrics-listen-address'], port: flags['metrics-port'], text: metrics.text }
        : undefined,
      missing: () => [...missing],
      log,
    }),
  )
  const cluster = open.use(await Cluster.open(flags.kubeconfig, env))
  const { trustDomain, sentryAddress } = await patiently(() => meshSettings(cluster, namespace, flags.config, signal), log, signal)
  const trustAnchorsFile = flags['trust-anchors-file']
  const identity = open.use(
    await openOwnIdentity({ appId: 'dapr-operator', namespace, trustDomain, trustAnchorsFile, sentryAddress, env, log }, signal),
  )
  missing.delete('identity')
  const informers = operatorInformers(cluster, flags['watch-namespace'], log)
  open.use(followAll(Object.values(informers)))
  await serveOperator({ flags, env, namespace, cluster, identity, informers, metrics, missing, log }, signal)
}

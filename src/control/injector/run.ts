import { readFile } from 'node:fs/promises'
import { Cluster } from '../../components/kubernetes/cluster.ts'
import { openOwnIdentity } from '../own-identity.ts'
import type { ProgramContext } from '../program.ts'
import { askedView } from '../resource-view.ts'
import { openSideServer } from '../side-server.ts'
import { readEnvironment } from './environment.ts'
import type { INJECTOR_FLAGS } from './flags.ts'
import { injectorMetrics } from './metrics.ts'
import { requesterCheck } from './requesters.ts'
import { INJECTOR_PARTS, serveInjector } from './serve.ts'

/** The injector, from its start until the signal. Rejects when it cannot start. */
export async function runInjector({ flags, env, log, signal }: ProgramContext<typeof INJECTOR_FLAGS>): Promise<void> {
  const environment = readEnvironment(env, await readFile('/etc/resolv.conf', 'utf8').catch(() => ''), log)
  // Patterns that are none end it before anything listens.
  requesterCheck(environment.allowedServiceAccounts)
  const metrics = injectorMetrics()
  const missing = new Set(['identity', ...INJECTOR_PARTS])
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
  await serveInjector({ flags, environment, cluster, identity, resources: askedView(cluster), metrics, missing, log }, signal)
}

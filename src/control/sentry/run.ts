import { Cluster } from '../../components/kubernetes/cluster.ts'
import { aborted } from '../../waiting.ts'
import type { ProgramContext } from '../program.ts'
import { openSideServer } from '../side-server.ts'
import type { SENTRY_FLAGS } from './flags.ts'
import { sentryMetrics } from './metrics.ts'
import { openSentry } from './open.ts'

/** The authority from its start until the signal. Rejects when it cannot start. */
export async function runSentry({ flags, env, log, signal }: ProgramContext<typeof SENTRY_FLAGS>): Promise<void> {
  if (flags.mode !== 'standalone' && flags.mode !== 'kubernetes')
    throw new Error(`--mode is "${flags.mode}"; expected standalone or kubernetes`)
  const metrics = sentryMetrics()
  const missing = new Set(['authority'])
  await using _side = await openSideServer({
    healthz: { host: flags['healthz-listen-address'], port: flags['healthz-port'] },
    metrics: flags['enable-metrics']
      ? { host: flags['metrics-listen-address'], port: flags['metrics-port'], text: metrics.text }
      : undefined,
    missing: () => [...missing],
    log,
  })
  await using cluster = flags.mode === 'kubernetes' ? await Cluster.open(flags.kubeconfig, env) : undefined
  await using _sentry = await openSentry({ flags, env, cluster, metrics, log }, signal)
  missing.delete('authority')
  await aborted(signal)
}

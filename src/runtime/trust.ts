import { existsSync } from 'node:fs'
import type { DaprdFlags } from '../cli/flags.ts'
import type { Logger } from '../telemetry/log.ts'
import type { WorkloadIdentity } from '../transport/identity/workload-identity.ts'

/** Where a pod has the tokens that the authority of its cluster knows it by, the better one first. */
const POD_TOKENS = ['/var/run/secrets/dapr.io/sentrytoken/token', '/var/run/secrets/kubernetes.io/serviceaccount/token']

/**
 * The identity of a sidecar that runs with mTLS, or in a cluster, where the operator asks for it; waits for its authority.
 * Undefined without need of one, when nothing of it is loaded, or when told to stop before.
 */
export async function openTrust(flags: DaprdFlags, log: Logger, signal: AbortSignal): Promise<WorkloadIdentity | undefined> {
  const inCluster = flags.mode === 'kubernetes'
  if (!flags.enableMtls && !inCluster) return undefined
  const { environment } = flags
  if (environment.sentryTokenFile === '')
    throw new Error('DAPR_SENTRY_TOKEN_FILE is set, but empty; give the path of the token file, or unset it')
  const { openIdentity } = await import('../transport/identity/open.ts')
  return openIdentity(
    {
      sentryAddress: flags.sentryAddress,
      controlPlaneTrustDomain: flags.controlPlaneTrustDomain,
      controlPlaneNamespace: flags.controlPlaneNamespace,
      appId: environment.sentryLocalIdentity ?? flags.appId,
      namespace: environment.namespace || 'default',
      trustAnchors: environment.trustAnchors,
      trustAnchorsFile: flags.trustAnchorsFile,
      tokenFile: environment.sentryTokenFile ?? (inCluster ? POD_TOKENS.find(existsSync) : undefined),
      inCluster,
      log: log.scope('dapr.runtime.security'),
    },
    signal,
  )
}

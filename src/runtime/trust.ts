import type { DaprdFlags } from '../cli/flags.ts'
import type { Logger } from '../telemetry/log.ts'
import type { WorkloadIdentity } from '../transport/identity/workload-identity.ts'

/**
 * The identity of a sidecar that runs with mTLS, or in a cluster, where the operator asks for it; waits for its authority.
 * Undefined without need of one, when nothing of it is loaded, or when told to stop before.
 */
export async function openTrust(flags: DaprdFlags, log: Logger, signal: AbortSignal): Promise<WorkloadIdentity | undefined> {
  if (!flags.enableMtls && flags.mode !== 'kubernetes') return undefined
  const { environment } = flags
  if (environment.sentryTokenFile === '')
    throw new Error('DAPR_SENTRY_TOKEN_FILE is set, but empty; give the path of the token file, or unset it')
  const { openIdentity } = await import('../transport/identity/open.ts')
  const { findToken } = await import('../transport/identity/token.ts')
  const token = findToken(environment.sentryTokenFile, flags.mode)
  return openIdentity(
    {
      sentryAddress: flags.sentryAddress,
      controlPlaneTrustDomain: flags.controlPlaneTrustDomain,
      controlPlaneNamespace: flags.controlPlaneNamespace,
      appId: environment.sentryLocalIdentity ?? flags.appId,
      namespace: environment.namespace || 'default',
      trustAnchors: environment.trustAnchors,
      trustAnchorsFile: flags.trustAnchorsFile,
      tokenFile: token?.file,
      tokenValidator: token?.validator,
      log: log.scope('dapr.runtime.security'),
    },
    signal,
  )
}

import type { Logger } from '../telemetry/log.ts'
import { openIdentity } from '../transport/identity/open.ts'
import { findToken } from '../transport/identity/token.ts'
import type { WorkloadIdentity } from '../transport/identity/workload-identity.ts'

export interface OwnIdentityOptions {
  /** e.g. `dapr-injector`. */
  appId: string
  namespace: string
  trustDomain: string
  trustAnchorsFile: string
  sentryAddress: string
  env: NodeJS.ProcessEnv
  log: Logger
}

/**
 * The identity of a program of the control plane, which it serves webhooks and sidecars with. Its key is RSA: API servers of some
 * clouds refuse Ed25519. Waits for the authority; rejects with the signal's reason when told to stop before.
 */
export async function openOwnIdentity(options: OwnIdentityOptions, signal: AbortSignal): Promise<WorkloadIdentity> {
  const { appId, namespace, trustDomain, trustAnchorsFile, sentryAddress, env, log } = options
  const token = findToken(env.DAPR_SENTRY_TOKEN_FILE, 'kubernetes')
  const identity = await openIdentity(
    {
      sentryAddress,
      controlPlaneTrustDomain: trustDomain,
      controlPlaneNamespace: namespace,
      appId,
      namespace,
      trustAnchorsFile,
      tokenFile: token?.file,
      tokenValidator: token?.validator,
      trustDomain,
      keyAlgorithm: 'rsa',
      log,
    },
    signal,
  )
  if (!identity) throw signal.reason
  return identity
}

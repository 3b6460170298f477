import { setTimeout as delay } from 'node:timers/promises'
import { Code, messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import { GrpcStatus } from '../grpc/status.ts'
import { type AuthorityOptions, requestIdentity } from './sentry.ts'
import { fixedTrustAnchors, openTrustAnchorsFile, type TrustAnchors } from './trust-anchors.ts'
import { WorkloadIdentity } from './workload-identity.ts'

export interface IdentityOptions extends Pick<AuthorityOptions, 'tokenFile' | 'tokenValidator' | 'trustDomain' | 'keyAlgorithm'> {
  /** host:port; empty is an error that says what to give. */
  sentryAddress: string
  controlPlaneTrustDomain: string
  controlPlaneNamespace: string
  appId: string
  namespace: string
  /** PEM text. */
  trustAnchors?: string | undefined
  /** A file with them, followed while we run. */
  trustAnchorsFile?: string | undefined
  log: Logger
}

/** An authority that fails, but answers, is asked this often before the start ends. */
const TRIES = 5
const RETRY_DELAY = 1000

/**
 * Gets the identity that a sidecar starts with. Waits as long as the authority cannot be reached, for it may start after us;
 * rejects when something is missing, or when it refuses. Undefined: told to stop before.
 */
export async function openIdentity(options: IdentityOptions, signal: AbortSignal): Promise<WorkloadIdentity | undefined> {
  const { sentryAddress, controlPlaneTrustDomain, controlPlaneNamespace, log } = options
  if (sentryAddress === '') throw new Error('mTLS is on (--enable-mtls), but no authority is named; give --sentry-address HOST:PORT')
  if (!/^[a-z0-9._-]+$/.test(controlPlaneTrustDomain))
    throw new Error(
      `invalid control plane trust domain "${controlPlaneTrustDomain}"; correct --control-plane-trust-domain, e.g. cluster.local`,
    )
  const anchors = await openAnchors(options)
  const authority = {
    address: sentryAddress.replace(/^(dns:\/\/\/|https?:\/\/)/, ''),
    authorityId: `spiffe://${controlPlaneTrustDomain}/ns/${controlPlaneNamespace}/dapr-sentry`,
    appId: options.appId,
    namespace: options.namespace,
    tokenFile: options.tokenFile,
    tokenValidator: options.tokenValidator,
    trustDomain: options.trustDomain,
    keyAlgorithm: options.keyAlgorithm,
  }
  const request = (pem: string, until: AbortSignal) => requestIdentity(authority, pem, until)
  log.info(`Fetching initial identity from ${authority.address}`)
  let failures = 0
  for (let tries = 1; ; tries++) {
    try {
      return new WorkloadIdentity({ anchors, request, log }, await request(anchors.pem, signal))
    } catch (error) {
      if (signal.aborted) {
        anchors[Symbol.dispose]()
        return undefined
      }
      const unreachable = error instanceof GrpcStatus && (error.code === Code.Unavailable || error.code === Code.DeadlineExceeded)
      if (!unreachable && (!(error instanceof GrpcStatus) || ++failures >= TRIES)) {
        anchors[Symbol.dispose]()
        throw new Error(`failed to retrieve the initial identity: ${messageOf(error)}`, { cause: error })
      }
      // Every failure while there are few, then one in ten seconds.
      if (tries <= 3 || tries % 10 === 0)
        log.warn(
          `no identity yet, and nothing listens before there is one: ${messageOf(error)}; start the authority, or correct --sentry-address`,
        )
      await delay(RETRY_DELAY, undefined, { signal }).catch(() => {})
    }
  }
}

async function openAnchors({ trustAnchors, trustAnchorsFile, log }: IdentityOptions): Promise<TrustAnchors> {
  if (trustAnchors && trustAnchorsFile)
    throw new Error('trust anchors are given twice, as text (DAPR_TRUST_ANCHORS) and as a file; keep one of them')
  if (trustAnchorsFile) return openTrustAnchorsFile(trustAnchorsFile, log)
  if (trustAnchors) return fixedTrustAnchors(trustAnchors, 'DAPR_TRUST_ANCHORS')
  throw new Error(
    "trust anchors are required with --enable-mtls: put the PEM text of the authority's ca.crt into DAPR_TRUST_ANCHORS, or its path into --trust-anchors-file or DAPR_TRUST_ANCHORS_FILE",
  )
}

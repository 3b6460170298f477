import type { Logger } from '../../telemetry/log.ts'
import { identityFrom, keyPair } from '../../transport/identity/sentry.ts'
import { WorkloadIdentity } from '../../transport/identity/workload-identity.ts'
import { issueLeaf, serviceNames } from '../authority/leaf.ts'
import type { Sentry } from './open.ts'
import { mustBeValid } from './signing.ts'

/**
 * The identity of programs that run in one process with their authority: it signs for them without being called. It is that of the
 * first, with the names that API servers know the others by. Rejects when the authority's issuer has ended.
 */
export async function localIdentity(sentry: Sentry, programs: readonly string[], log: Logger): Promise<WorkloadIdentity> {
  const { namespace, trustDomain, clusterDomain, settings } = sentry
  const uri = `spiffe://${trustDomain}/ns/${namespace}/${programs[0]}`
  const dns = programs.flatMap((program) => serviceNames(program, namespace, clusterDomain))
  const request = async () => {
    const { authority } = sentry.bundle
    mustBeValid(authority)
    // API servers of some clouds refuse Ed25519.
    const pair = await keyPair('rsa')
    const leaf = issueLeaf(authority, uri, pair.publicKey, { life: settings.leafLife, skew: settings.skew, dns })
    return identityFrom(leaf, pair.privateKey, 'the authority of this process')
  }
  const first = await request()
  const anchors = {
    get pem() {
      return sentry.bundle.authority.rootsPem
    },
    onChange: undefined as (() => void) | undefined,
    refresh: async () => {},
    [Symbol.dispose]: () => following[Symbol.dispose](),
  }
  const following = sentry.follow(() => anchors.onChange?.())
  return new WorkloadIdentity({ anchors, request, log }, first)
}

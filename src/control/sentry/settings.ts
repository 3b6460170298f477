import type { Cluster } from '../../components/kubernetes/cluster.ts'
import { parseDuration } from '../../components/metadata.ts'

/** What `spec.mtls` of a Configuration says to the authority. */
export interface SentrySettings {
  /** Milliseconds. */
  readonly leafLife: number
  readonly skew: number
  /** Options of the validator `jwks`; undefined: it is not wanted. */
  readonly jwks: Readonly<Record<string, string>> | undefined
}

export interface MtlsSpec {
  workloadCertTTL?: string
  allowedClockSkew?: string
  tokenValidators?: { name?: string; options?: Record<string, unknown> }[]
}

/** Of a Configuration in the cluster. Rejects when it is not there. */
export async function settingsFromCluster(cluster: Cluster, namespace: string, name: string): Promise<SentrySettings> {
  const path = `/apis/dapr.io/v1alpha1/namespaces/${encodeURIComponent(namespace)}/configurations/${encodeURIComponent(name)}`
  const found = (await cluster.get(path)) as { spec?: { mtls?: MtlsSpec } } | undefined
  if (!found) throw new Error(`there is no Configuration ${name} in the namespace ${namespace}; install the control plane's manifests`)
  return parseSettings(found.spec?.mtls ?? {})
}

/** Throws naming what cannot be used. */
export function parseSettings({ workloadCertTTL, allowedClockSkew, tokenValidators = [] }: MtlsSpec): SentrySettings {
  const duration = (name: string, text: string | undefined, otherwise: number) => {
    if (!text) return otherwise
    const value = parseDuration(text)
    if (value === undefined || value < 0) throw new Error(`spec.mtls.${name} is "${text}"; expected a duration such as 24h`)
    return value
  }
  for (const { name } of tokenValidators) {
    if (name?.toLowerCase() !== 'jwks')
      throw new Error(`spec.mtls.tokenValidators names "${name}"; only jwks can be configured, kubernetes and insecure are built in`)
  }
  const options = tokenValidators[0]?.options
  return {
    leafLife: duration('workloadCertTTL', workloadCertTTL, 86_400_000),
    skew: duration('allowedClockSkew', allowedClockSkew, 900_000),
    jwks:
      tokenValidators.length === 0
        ? undefined
        : Object.fromEntries(Object.entries(options ?? {}).map(([key, value]) => [key, String(value)])),
  }
}

import type { Cluster } from '../../components/kubernetes/cluster.ts'

/** What the Configuration of the control plane says about its authority. Rejects when there is none. */
export async function meshSettings(cluster: Cluster, namespace: string, name: string, signal: AbortSignal) {
  const path = `/apis/dapr.io/v1alpha1/namespaces/${encodeURIComponent(namespace)}/configurations/${encodeURIComponent(name)}`
  type Found = { spec?: { mtls?: { controlPlaneTrustDomain?: string; sentryAddress?: string } } } | undefined
  const found = (await cluster.get(path, signal)) as Found
  if (!found) throw new Error(`there is no Configuration ${name} in the namespace ${namespace}; install the control plane's manifests`)
  const { controlPlaneTrustDomain, sentryAddress } = found.spec?.mtls ?? {}
  return {
    trustDomain: controlPlaneTrustDomain || 'cluster.local',
    sentryAddress: sentryAddress || `dapr-sentry.${namespace}.svc:443`,
  }
}

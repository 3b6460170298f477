import type { Cluster } from '../../components/kubernetes/cluster.ts'

/** Dapr's name for it, so that an installation's own object is kept up to date. */
export const WEBHOOK_CONFIGURATION = 'dapr-sidecar-injector'

/** The path for pods of namespaces that carry the label; `/mutate` is Dapr's. */
export const EVERY_POD = '/mutate-namespace'

/** Tells the API server which certificates our own one leads to. Rejects when that object is missing or not ours to change. */
export async function publishCaBundle(cluster: Cluster, trustAnchors: string, signal: AbortSignal): Promise<void> {
  const path = `/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/${WEBHOOK_CONFIGURATION}`
  const found = (await cluster.get(path, signal)) as { webhooks?: { clientConfig?: { caBundle?: string } }[] | null } | undefined
  if (!found)
    throw new Error(
      `there is no MutatingWebhookConfiguration ${WEBHOOK_CONFIGURATION} in the cluster; install the control plane's manifests`,
    )
  const bundle = Buffer.from(trustAnchors).toString('base64')
  const webhooks = found.webhooks ?? []
  if (webhooks.length > 0 && webhooks.every(({ clientConfig }) => clientConfig?.caBundle === bundle)) return
  const patch = Array.from({ length: Math.max(1, webhooks.length) }, (_, index) => ({
    // There may be none yet, and replacing asks for one.
    op: 'add',
    path: `/webhooks/${index}/clientConfig/caBundle`,
    value: bundle,
  }))
  await cluster.patch(path, 'json', patch, signal)
}

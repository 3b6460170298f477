/** A kind of the API: what its path calls it, and whether it lies in namespaces. */
export interface Resource {
  readonly group: string
  readonly plural: string
  readonly kind: string
  readonly namespaced: boolean
}

const kinds = (group: string, namespaced: boolean, names: Readonly<Record<string, string>>): Resource[] =>
  Object.entries(names).map(([plural, kind]) => ({ group, plural, kind, namespaced }))

/** What the stand-in knows from its start; CustomResourceDefinitions add to it. */
export const BUILT_IN: readonly Resource[] = [
  ...kinds('', true, {
    pods: 'Pod',
    services: 'Service',
    secrets: 'Secret',
    configmaps: 'ConfigMap',
    serviceaccounts: 'ServiceAccount',
    endpoints: 'Endpoints',
    events: 'Event',
  }),
  ...kinds('', false, { namespaces: 'Namespace', nodes: 'Node' }),
  ...kinds('apps', true, { deployments: 'Deployment', statefulsets: 'StatefulSet', replicasets: 'ReplicaSet' }),
  ...kinds('coordination.k8s.io', true, { leases: 'Lease' }),
  ...kinds('policy', true, { poddisruptionbudgets: 'PodDisruptionBudget' }),
  ...kinds('networking.k8s.io', true, { networkpolicies: 'NetworkPolicy' }),
  ...kinds('rbac.authorization.k8s.io', true, { roles: 'Role', rolebindings: 'RoleBinding' }),
  ...kinds('rbac.authorization.k8s.io', false, { clusterroles: 'ClusterRole', clusterrolebindings: 'ClusterRoleBinding' }),
  ...kinds('admissionregistration.k8s.io', false, {
    mutatingwebhookconfigurations: 'MutatingWebhookConfiguration',
    validatingwebhookconfigurations: 'ValidatingWebhookConfiguration',
  }),
  ...kinds('apiextensions.k8s.io', false, { customresourcedefinitions: 'CustomResourceDefinition' }),
  ...kinds('scheduling.k8s.io', false, { priorityclasses: 'PriorityClass' }),
]

/** What a request's path names. */
export interface ObjectPath {
  readonly group: string
  readonly version: string
  readonly namespace: string | undefined
  readonly plural: string
  readonly name: string | undefined
  readonly subresource: string | undefined
}

/** `/api/v1/…` and `/apis/GROUP/VERSION/…`, with or without a namespace; undefined: no path of objects. */
export function parsePath(path: string): ObjectPath | undefined {
  const parts = path
    .split('/')
    .filter((part) => part !== '')
    .map(decodeURIComponent)
  const root = parts.shift()
  if (root !== 'api' && root !== 'apis') return undefined
  const group = root === 'api' ? '' : (parts.shift() ?? '')
  const version = parts.shift()
  const first = parts[0]
  if (version === undefined || first === undefined) return undefined
  // Namespaces are objects themselves: /namespaces/NAME, unless something lies behind the name.
  const inside = first === 'namespaces' && parts.length >= 3
  const namespace = inside ? parts[1] : undefined
  const [plural = '', name, subresource] = inside ? parts.slice(2) : parts
  return { group, version, namespace, plural, name, subresource }
}

/** The path of a kind's objects in a namespace, or of all of them. */
export function collectionPath({ group, plural }: Resource, version: string, namespace?: string): string {
  const root = group === '' ? `/api/${version}` : `/apis/${group}/${version}`
  return `${root}${namespace === undefined ? '' : `/namespaces/${namespace}`}/${plural}`
}

import { API_GROUPS, type InstallValues, LABELS, type Manifest, type ProgramId } from './manifest.ts'

interface Rule {
  apiGroups: string[]
  resources: string[]
  verbs: string[]
  resourceNames?: string[]
}

const RBAC = 'rbac.authorization.k8s.io/v1'
const READ = ['get', 'list', 'watch']

/** What each program may do in the whole cluster, and in its own namespace. No more than its code asks for. */
const RULES: Readonly<Record<ProgramId, { cluster: Rule[]; own: Rule[] }>> = {
  sentry: {
    cluster: [
      { apiGroups: ['authentication.k8s.io'], resources: ['tokenreviews'], verbs: ['create'] },
      { apiGroups: [''], resources: ['pods'], verbs: ['get', 'list'] },
      { apiGroups: ['dapr.io'], resources: ['configurations'], verbs: ['get', 'list'] },
    ],
    own: [
      // A name cannot be asked for when something is made.
      { apiGroups: [''], resources: ['secrets', 'configmaps'], verbs: ['create'] },
      { apiGroups: [''], resources: ['secrets', 'configmaps'], verbs: ['get', 'update'], resourceNames: ['dapr-trust-bundle'] },
    ],
  },
  operator: {
    cluster: [
      { apiGroups: API_GROUPS, resources: ['*'], verbs: READ },
      { apiGroups: [''], resources: ['secrets'], verbs: ['get'] },
      { apiGroups: [''], resources: ['pods'], verbs: [...READ, 'delete'] },
      { apiGroups: [''], resources: ['services'], verbs: ['get', 'create', 'update'] },
      { apiGroups: ['apps'], resources: ['deployments', 'statefulsets'], verbs: READ },
      // To own the Services it makes for them.
      { apiGroups: ['apps'], resources: ['deployments/finalizers', 'statefulsets/finalizers'], verbs: ['update'] },
      {
        apiGroups: ['apiextensions.k8s.io'],
        resources: ['customresourcedefinitions'],
        verbs: ['get', 'patch'],
        resourceNames: ['subscriptions.dapr.io'],
      },
    ],
    own: [
      { apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['create'] },
      { apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['get', 'update'], resourceNames: ['operator.dapr.io'] },
    ],
  },
  injector: {
    cluster: [
      { apiGroups: ['dapr.io'], resources: ['components'], verbs: ['list'] },
      {
        apiGroups: ['admissionregistration.k8s.io'],
        resources: ['mutatingwebhookconfigurations'],
        verbs: ['get', 'patch'],
        resourceNames: ['dapr-sidecar-injector'],
      },
    ],
    own: [{ apiGroups: ['dapr.io'], resources: ['configurations'], verbs: ['get'] }],
  },
}

/** Gives a service account the roles of these programs. */
export function bindings(account: string, programs: readonly ProgramId[], { namespace }: InstallValues): Manifest[] {
  const subjects = [{ kind: 'ServiceAccount', name: account, namespace }]
  return programs.flatMap((id) => {
    const role = `dapr-${id}`
    const name = account === role ? role : `${account}-${id}`
    const ref = (kind: string) => ({ apiGroup: 'rbac.authorization.k8s.io', kind, name: role })
    return [
      { apiVersion: RBAC, kind: 'ClusterRoleBinding', metadata: { name, labels: LABELS }, subjects, roleRef: ref('ClusterRole') },
      { apiVersion: RBAC, kind: 'RoleBinding', metadata: { name, namespace, labels: LABELS }, subjects, roleRef: ref('Role') },
    ]
  })
}

/** Roles of the control plane, and the one by which pods of the namespace `default` read their Secrets. */
export function roles(values: InstallValues): Manifest[] {
  const { namespace } = values
  const all = Object.entries(RULES).flatMap(([id, { cluster, own }]) => {
    const name = `dapr-${id}`
    return [
      { apiVersion: RBAC, kind: 'ClusterRole', metadata: { name, labels: LABELS }, rules: cluster },
      { apiVersion: RBAC, kind: 'Role', metadata: { name, namespace, labels: LABELS }, rules: own },
    ]
  })
  const reader = { name: 'secret-reader', namespace: 'default', labels: LABELS }
  return [
    ...all,
    { apiVersion: RBAC, kind: 'Role', metadata: reader, rules: [{ apiGroups: [''], resources: ['secrets'], verbs: ['get'] }] },
    {
      apiVersion: RBAC,
      kind: 'RoleBinding',
      metadata: { ...reader, name: 'dapr-secret-reader' },
      subjects: [{ kind: 'ServiceAccount', name: 'default', namespace: 'default' }],
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'secret-reader' },
    },
  ]
}

import type { ApiObject, ObjectStore } from './store.ts'

export interface User {
  username: string
  groups: string[]
  uid?: string
  extra?: Record<string, string[]>
}

export interface Attributes {
  verb: string
  group: string
  resource: string
  namespace: string | undefined
  name: string | undefined
}

interface Rule {
  verbs: string[]
  apiGroups?: string[]
  resources?: string[]
  resourceNames?: string[]
}

const RBAC = 'rbac.authorization.k8s.io'

/** Whether roles and bindings of the store let a user do something; members of system:masters may do everything. */
export function isAllowed(store: ObjectStore, user: User, wish: Attributes): boolean {
  if (user.groups.includes('system:masters')) return true
  const bindings = [
    ...store.list(`${RBAC}/clusterrolebindings`),
    ...store.list(`${RBAC}/rolebindings`).filter(({ metadata }) => metadata.namespace === wish.namespace),
  ]
  return bindings.some((binding) => isSubject(binding, user) && rulesOf(store, binding).some((rule) => covers(rule, wish)))
}

function isSubject(binding: ApiObject, { username, groups }: User): boolean {
  const subjects = (binding.subjects ?? []) as { kind: string; name: string; namespace?: string }[]
  return subjects.some(({ kind, name, namespace }) => {
    if (kind === 'ServiceAccount') return username === `system:serviceaccount:${namespace ?? binding.metadata.namespace}:${name}`
    return kind === 'Group' ? groups.includes(name) : username === name
  })
}

function rulesOf(store: ObjectStore, { roleRef, metadata }: ApiObject): Rule[] {
  const collection = roleRef.kind === 'ClusterRole' ? `${RBAC}/clusterroles` : `${RBAC}/roles`
  const role = store.get(collection, roleRef.kind === 'ClusterRole' ? undefined : metadata.namespace, roleRef.name)
  return (role?.rules ?? []) as Rule[]
}

function covers({ verbs, apiGroups = [], resources = [], resourceNames = [] }: Rule, wish: Attributes): boolean {
  const has = (list: string[], value: string) => list.includes(value) || list.includes('*')
  if (!has(verbs, wish.verb) || !has(apiGroups, wish.group) || !has(resources, wish.resource)) return false
  return resourceNames.length === 0 || (wish.name !== undefined && resourceNames.includes(wish.name))
}

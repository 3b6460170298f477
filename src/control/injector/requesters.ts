/** Controllers that make pods for others. */
const CONTROLLERS = [
  'kube-system:replicaset-controller',
  'kube-system:replication-controller',
  'kube-system:deployment-controller',
  'kube-system:cronjob-controller',
  'kube-system:job-controller',
  'kube-system:statefulset-controller',
  'kube-system:daemon-set-controller',
  'openshift-operator-lifecycle-manager:olm-operator-serviceaccount',
  'tekton-pipelines:tekton-pipelines-controller',
  'mirrord:mirrord-operator',
]

export interface Requester {
  readonly username: string
  readonly groups: readonly string[]
}

/**
 * Whose pods get a sidecar: the controllers of Kubernetes, members of system:masters, and service accounts that match a pattern
 * `namespace:name` with `*`, `?` and `[…]`. Throws naming a pattern that is none.
 */
export function requesterCheck(patterns: readonly string[]): (requester: Requester) => boolean {
  const allowed = [...CONTROLLERS, ...patterns].map((pattern) => {
    const [namespace = '', name, ...rest] = pattern.split(':')
    if (name === undefined || rest.length > 0 || (namespace.trim() === '' && name.trim() === ''))
      throw new Error(`ALLOWED_SERVICE_ACCOUNTS: "${pattern}" is no pattern; expected namespace:name, with * where anything goes`)
    return { namespace: glob(namespace.trim()), name: glob(name.trim()) }
  })
  return ({ username, groups }) => {
    if (groups.includes('system:masters')) return true
    const [, namespace, name] = /^system:serviceaccount:([^:]*):([^:]*)$/.exec(username) ?? []
    if (namespace === undefined || name === undefined) return false
    return allowed.some((pattern) => pattern.namespace.test(namespace) && pattern.name.test(name))
  }
}

/** As Go's path.Match: `*` and `?` do not go past a slash. */
function glob(pattern: string): RegExp {
  let source = ''
  for (let at = 0; at < pattern.length; at++) {
    const char = pattern[at] as string
    if (char === '*') source += '[^/]*'
    else if (char === '?') source += '[^/]'
    else if (char === '[') {
      const end = pattern.indexOf(']', at + 2)
      if (end < 0) throw new Error(`ALLOWED_SERVICE_ACCOUNTS: "${pattern}" has a [ without its ]`)
      const inner = pattern.slice(at + 1, end).replace(/[\\\]]/g, '\\$&')
      source += `[${inner}]`
      at = end
    } else {
      const literal = char === '\\' ? (pattern[++at] ?? '\\') : char
      source += literal.replace(/[.+^${}()|[\]\\/*?]/g, '\\$&')
    }
  }
  return new RegExp(`^${source}$`)
}

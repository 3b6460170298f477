import type { Resource } from './paths.ts'

const VERBS = ['create', 'delete', 'get', 'list', 'patch', 'update', 'watch']
/** What is served beside v1. */
const VERSIONS: Readonly<Record<string, readonly string[]>> = { 'dapr.io': ['v1alpha1', 'v2alpha1'] }

/** What clients ask to learn which kinds there are; undefined: another path. */
export function discovery(path: string, resources: readonly Resource[]): unknown {
  const groups = [...new Set(resources.map(({ group }) => group))].filter((group) => group !== '')
  const versions = (group: string) => VERSIONS[group] ?? ['v1']
  if (path === '/version') return { major: '1', minor: '34', gitVersion: 'v1.34.0' }
  if (path === '/api') return { kind: 'APIVersions', versions: ['v1'] }
  const entry = (group: string) => {
    const each = versions(group).map((version) => ({ groupVersion: `${group}/${version}`, version }))
    return { name: group, versions: each, preferredVersion: each[0] }
  }
  if (path === '/apis') return { kind: 'APIGroupList', apiVersion: 'v1', groups: groups.map(entry) }
  const [, root, group = '', version] = /^\/(api|apis)(?:\/([a-z0-9.]+))?\/(v[a-z0-9]+)$/.exec(path) ?? []
  if (root === undefined || (root === 'api') !== (group === '')) return undefined
  return {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion: group === '' ? version : `${group}/${version}`,
    resources: resources
      .filter((resource) => resource.group === group)
      .map(({ plural, kind, namespaced }) => ({ name: plural, singularName: kind.toLowerCase(), namespaced, kind, verbs: VERBS })),
  }
}

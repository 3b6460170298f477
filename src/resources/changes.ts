import { isDeepStrictEqual } from 'node:util'
import type { Resource, Resources } from './kinds.ts'

/** The kinds that a resources folder holds, with the member of `Resources` that lists them, in the order in which changes are applied. */
export const RELOADED = {
  Resiliency: 'resiliencies',
  TrafficPolicy: 'trafficPolicies',
  Component: 'components',
  StoreAndForward: 'storeAndForwards',
  HTTPEndpoint: 'httpEndpoints',
  Subscription: 'subscriptions',
  MCPServer: 'mcpServers',
  WorkflowAccessPolicy: 'workflowAccessPolicies',
  Role: 'roles',
} as const satisfies Record<string, keyof Resources>

export type ReloadedKind = keyof typeof RELOADED

/** One resource that is not as it was. */
export interface Change {
  kind: ReloadedKind
  name: string
  action: 'add' | 'change' | 'delete'
  /** Absent for an addition. */
  before?: Resource
  /** Absent for a deletion. */
  after?: Resource
}

/** What tells two resources of one list apart: a subscription of each version may share its name, and so may roles of two kinds. */
export function keyOf(resource: Resource): string {
  const { apiVersion, kind } = resource as { apiVersion?: string; kind?: string }
  return `${apiVersion ?? kind ?? ''} ${resource.name}`
}

/** Whether two resources say the same; where they stand and who else may see them does not matter. */
export function sameResource(one: Resource, other: Resource): boolean {
  return isDeepStrictEqual(comparable(one), comparable(other))
}

function comparable(resource: Resource): Record<string, unknown> {
  const { source: _source, scopes: _scopes, namespace: _namespace, ...rest } = resource
  // Absent and undefined are the same wish.
  return Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined))
}

/** What changed from one reading to the next, deletions of each kind first. */
export function changesBetween(before: Resources, after: Resources): Change[] {
  const changes: Change[] = []
  for (const [kind, member] of Object.entries(RELOADED) as [ReloadedKind, (typeof RELOADED)[ReloadedKind]][]) {
    const old = byKey(before[member])
    const now = byKey(after[member])
    for (const [key, resource] of old) if (!now.has(key)) changes.push({ kind, name: resource.name, action: 'delete', before: resource })
    for (const [key, resource] of now) {
      const known = old.get(key)
      if (!known) changes.push({ kind, name: resource.name, action: 'add', after: resource })
      else if (!sameResource(known, resource)) changes.push({ kind, name: resource.name, action: 'change', before: known, after: resource })
    }
  }
  return changes
}

/**
 * A document that could not be read is no deletion: what ran under its name is put back into `after`. Of a document without a
 * readable name, or a file that cannot be read at all, everything that came from that file stays.
 */
export function keepUnreadable(before: Resources, after: Resources): void {
  for (const { kind, name, file } of after.rejected) {
    for (const [known, member] of Object.entries(RELOADED) as [ReloadedKind, (typeof RELOADED)[ReloadedKind]][]) {
      const list = after[member] as Resource[]
      const there = byKey(list)
      for (const resource of before[member]) {
        const own = (resource as { kind?: string }).kind ?? known
        const meant = name === undefined || kind === undefined ? resource.source.file === file : kind === own && name === resource.name
        if (meant && !there.has(keyOf(resource))) list.push(resource)
      }
    }
  }
}

/** Policies merge, so several Resiliency resources may share a name: then their places count too. */
function byKey(resources: readonly Resource[]): Map<string, Resource> {
  const found = new Map<string, Resource>()
  for (const resource of resources) {
    let key = keyOf(resource)
    for (let place = 2; found.has(key); place++) key = `${keyOf(resource)} ${place}`
    found.set(key, resource)
  }
  return found
}

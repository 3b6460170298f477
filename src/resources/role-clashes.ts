import type { Rejection } from './kinds.ts'
import { type RoleResource, roleKind } from './role-kinds.ts'

/** Leaves out roles that want a path of the agents' port which an earlier one has: which of the two answers would be chance. */
export function withoutClashes(roles: readonly RoleResource[], refuse: (rejection: Rejection) => void): RoleResource[] {
  const taken = new Map<string, RoleResource>()
  return roles.filter((role) => {
    const { kind, name, source, spec } = role
    const { serves, apart } = roleKind(kind) ?? {}
    const paths = serves?.(spec) ?? []
    for (const path of paths) {
      const other = taken.get(path)
      if (!other) continue
      const message = `${path} on the agents' port is served by ${other.kind} ${other.name} (${other.source.file}:${other.source.line})`
      refuse({ kind, name, file: source.file, line: source.line, column: 1, message: `${message}: ${apart}` })
      return false
    }
    for (const path of paths) taken.set(path, role)
    return true
  })
}

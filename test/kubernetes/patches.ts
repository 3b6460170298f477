import { StoreError } from './store.ts'

interface JsonOperation {
  op: string
  path: string
  value?: unknown
  from?: string
}

/** RFC 6902, of which admission webhooks and controllers use add, replace, remove and test. Throws 422 for what cannot be done. */
export function applyJsonPatch<T>(target: T, operations: readonly JsonOperation[]): T {
  const root = { '': structuredClone(target) as unknown }
  for (const { op, path, value } of operations) {
    const keys = path.split('/').map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'))
    const last = keys.pop() as string
    const refuse = (why: string): never => {
      throw new StoreError(422, 'Invalid', `the json patch cannot be applied: ${op} ${path}: ${why}`)
    }
    let parent: unknown = root
    for (const key of keys) {
      parent = (parent as Record<string, unknown>)[key]
      if (typeof parent !== 'object' || parent === null) refuse(`there is no ${key}`)
    }
    if (Array.isArray(parent)) {
      const index = last === '-' ? parent.length : Number(last)
      if (!Number.isInteger(index) || index > parent.length || (op !== 'add' && index >= parent.length)) refuse('no such place')
      parent.splice(index, op === 'add' ? 0 : 1, ...(op === 'remove' ? [] : [structuredClone(value)]))
    } else {
      const members = parent as Record<string, unknown>
      if (op !== 'add' && !Object.hasOwn(members, last)) refuse('there is nothing to replace')
      if (op === 'remove') delete members[last]
      else members[last] = structuredClone(value)
    }
  }
  return root[''] as T
}

/** RFC 7386. */
export function applyMergePatch(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch
  const merged: Record<string, unknown> = typeof target === 'object' && target !== null && !Array.isArray(target) ? { ...target } : {}
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete merged[key]
    else merged[key] = applyMergePatch(merged[key], value)
  }
  return merged
}

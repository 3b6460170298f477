import { createHash } from 'node:crypto'
import type { Entry } from './source.ts'

export type Tree = { [name: string]: unknown }

/** Objects within objects that are followed. */
const DEEPEST = 64

/** Without a prototype: names of keys are anybody's. */
export const emptyTree = (): Tree => Object.create(null) as Tree

export function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Puts `value` over `base`: objects are put together, all else takes the place of what was there. Gives what results; changes neither. */
export function merged(base: unknown, value: unknown, depth = 0): unknown {
  if (!isTree(value) || depth > DEEPEST) return value
  const result = emptyTree()
  if (isTree(base)) for (const name of Object.keys(base)) result[name] = base[name]
  for (const name of Object.keys(value)) result[name] = merged(result[name], value[name], depth + 1)
  return result
}

/** What entries say of one service; undefined: nothing. */
export function treeOf(entries: readonly Entry[], service: string): Tree | undefined {
  let tree: Tree | undefined
  for (const { path, value } of entries) {
    if (path[0] !== service) continue
    tree ??= emptyTree()
    const names = path.slice(1)
    if (names.length === 0) {
      // The service's key itself holds a whole document; a mere word is no configuration.
      if (isTree(value)) tree = merged(tree, value) as Tree
      continue
    }
    let at = tree
    for (const name of names.slice(0, -1)) {
      const next = at[name]
      const below = isTree(next) ? next : emptyTree()
      at[name] = below
      at = below
    }
    const last = names.at(-1) as string
    at[last] = merged(at[last], value)
  }
  return tree
}

/** A strong tag of what a value says, whatever the order of its keys. */
export function tagOf(value: unknown): string {
  return `"${createHash('sha256').update(canonical(value)).digest('base64url').slice(0, 22)}"`
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_, one: unknown) => {
    if (!isTree(one)) return one
    const sorted = emptyTree()
    for (const name of Object.keys(one).sort()) sorted[name] = one[name]
    return sorted
  })
}

/** A copy in which values whose name has one of the words in it are `…`. */
export function redacted(value: unknown, words: readonly string[], depth = 0): unknown {
  if (words.length === 0 || depth > DEEPEST) return value
  if (Array.isArray(value)) return value.map((one) => redacted(one, words, depth + 1))
  if (!isTree(value)) return value
  const result = emptyTree()
  for (const name of Object.keys(value)) {
    const hidden = words.some((word) => name.toLowerCase().includes(word.toLowerCase()))
    result[name] = hidden ? '…' : redacted(value[name], words, depth + 1)
  }
  return result
}

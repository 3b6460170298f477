import type { HeaderChanges } from '../model/match.ts'

/** Heads are lists of names in lower case and values in turn; the helpers here leave their order as it is. */
export function fieldOf(fields: readonly string[], name: string): string | undefined {
  for (let i = 0; i < fields.length; i += 2) if (fields[i] === name) return fields[i + 1]
  return undefined
}

/** All values of a name, joined as one. */
export function joined(fields: readonly string[], name: string): string | undefined {
  let found: string | undefined
  for (let i = 0; i < fields.length; i += 2)
    if (fields[i] === name) found = found === undefined ? fields[i + 1] : `${found},${fields[i + 1]}`
  return found
}

export function without(fields: string[], name: string): void {
  for (let i = fields.length - 2; i >= 0; i -= 2) if (fields[i] === name) fields.splice(i, 2)
}

export function put(fields: string[], name: string, value: string): void {
  for (let i = 0; i < fields.length; i += 2)
    if (fields[i] === name) {
      fields[i + 1] = value
      // Further ones of the name would still be seen.
      for (let j = fields.length - 2; j > i; j -= 2) if (fields[j] === name) fields.splice(j, 2)
      return
    }
  fields.push(name, value)
}

/** A value with what it refers to put in. */
export type Valued<C> = (context: C) => string

/** Changes whose values are ready to be asked. */
export interface CompiledChanges<C> {
  readonly remove: readonly string[]
  readonly add: readonly { name: string; value: Valued<C>; how: 'append' | 'overwrite' | 'if-absent' }[]
}

/** Undefined: nothing changes. Names starting with a colon, and Host, are not touched. */
export function compileChanges<C>(changes: HeaderChanges, compile: (format: string) => Valued<C>): CompiledChanges<C> | undefined {
  if (changes.add.length === 0 && changes.remove.length === 0) return undefined
  return {
    remove: changes.remove.map((name) => name.toLowerCase()),
    add: changes.add.map(({ name, value, how }) => ({ name: name.toLowerCase(), value: compile(value), how })),
  }
}

/** Removes first, then adds, as Envoy does. Empty values are left out. */
export function applyChanges<C>(fields: string[], changes: CompiledChanges<C> | undefined, context: C): void {
  if (!changes) return
  for (const name of changes.remove) without(fields, name)
  for (const { name, value, how } of changes.add) {
    const text = value(context)
    if (text === '') continue
    if (how === 'overwrite') put(fields, name, text)
    else if (how === 'append' || fieldOf(fields, name) === undefined) fields.push(name, text)
  }
}

import { itemsOf, type Names } from './condition.ts'
import type { Condition } from './condition-parser.ts'

/** What `evt.type` can be here. */
export const SEEN: ReadonlySet<string> = new Set([
  'execve',
  'procexit',
  'openat',
  'unlinkat',
  'fchmodat',
  'fchownat',
  'listen',
  'bind',
  'connect',
  'accept',
])

/** Whether any event that is seen here can meet a condition, by the kinds of event that it names. */
export function possible(condition: Condition, names: Names): boolean {
  switch (condition.kind) {
    case 'and':
      return condition.all.every((one) => possible(one, names))
    case 'or':
      return condition.all.some((one) => possible(one, names))
    case 'macro': {
      const macro = names.macro(condition.name)
      return !macro || possible(macro, names)
    }
    case 'compare':
      if (condition.field.name === 'evt.dir') return condition.how !== '=' || condition.value !== '>'
      return condition.field.name !== 'evt.type' || condition.how !== '=' || SEEN.has(condition.value)
    case 'list':
      return (
        condition.field.name !== 'evt.type' || condition.how !== 'in' || itemsOf(condition.values, names, 0).some((one) => SEEN.has(one))
      )
    default:
      return true
  }
}

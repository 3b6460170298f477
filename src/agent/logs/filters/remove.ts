import { fieldOf, removeField } from '../event.ts'
import type { FilterSpec } from '../spec.ts'
import type { Filter } from './filter.ts'

/** Takes fields out, or all but some. */
export function remove({ fields = [], keep }: NonNullable<FilterSpec['remove']>): Filter {
  return (event) => {
    if (keep) {
      const { record } = event
      event.record = Object.fromEntries(keep.map((name) => [name, fieldOf(record, name)]).filter(([, value]) => value !== undefined))
    }
    for (const name of fields) removeField(event.record, name)
    event.changed()
    return 'keep'
  }
}

import type { FilterSpec } from '../spec.ts'
import { fieldMatcher } from '../template.ts'
import type { Filter } from './filter.ts'

/** Leaves out events by their fields. */
export function grep({ include = [], exclude = [] }: NonNullable<FilterSpec['grep']>): Filter {
  const wanted = include.map(fieldMatcher)
  const unwanted = exclude.map(fieldMatcher)
  return (event) => (wanted.every((matches) => matches(event)) && !unwanted.some((matches) => matches(event)) ? 'keep' : 'leave')
}

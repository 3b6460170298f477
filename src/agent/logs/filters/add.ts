import { Template } from '../template.ts'
import type { Filter, FilterContext } from './filter.ts'

/** Sets fields. */
export function add({ fields }: { fields: Readonly<Record<string, string>> }, { env }: Pick<FilterContext, 'env'>): Filter {
  const rows = Object.entries(fields).map(([name, text]) => [name, new Template(text, env)] as const)
  return (event) => {
    const { record } = event
    for (const [name, template] of rows) record[name] = template.value(event) ?? null
    event.changed()
    return 'keep'
  }
}

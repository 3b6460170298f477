import { hostname } from 'node:os'
import { PRIORITIES } from '../../resources/security-rules-schema.ts'
import { type SecurityEvent, valueOfField } from './fields.ts'
import type { Rule } from './rules.ts'

/** What goes out, in the shape of Falco's JSON output. */
export interface Alert {
  hostname: string
  output: string
  output_fields: Record<string, unknown>
  priority: string
  rule: string
  source: 'syscall'
  tags: readonly string[]
  /** RFC 3339. */
  time: string
}

const FIELD = /%([a-z]\w*(?:\.\w+)+)(?:\[([^\]]*)\])?/g

export function alertOf({ name, priority, tags, output }: Rule, event: SecurityEvent): Alert {
  const fields: Record<string, unknown> = {}
  const said = output.replaceAll(FIELD, (_, field: string, argument: string | undefined) => {
    const value = valueOfField(event, field, argument)
    fields[argument === undefined ? field : `${field}[${argument}]`] = value ?? null
    return value === undefined ? '<NA>' : Array.isArray(value) ? value.join(' ') : String(value)
  })
  const time = new Date(event.at).toISOString()
  const word = PRIORITIES[priority] as string
  const shown = word[0]?.toUpperCase() + word.slice(1)
  return {
    hostname: hostname(),
    output: `${time.slice(11, -1)}: ${shown} ${said.trim()}`,
    output_fields: fields,
    priority: shown,
    rule: name,
    source: 'syscall',
    tags,
    time,
  }
}

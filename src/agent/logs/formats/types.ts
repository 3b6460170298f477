import type { LogRecord } from '../event.ts'

const CONVERT: Readonly<Record<string, (text: string) => unknown>> = {
  string: (text) => text,
  integer: (text) => number(Math.trunc(Number(text)), text),
  float: (text) => number(Number(text), text),
  bool: (text) => /^(true|yes|1|on)$/i.test(text),
  array: (text) => text.split(',').map((part) => part.trim()),
}

/** What cannot be converted stays the text it is. */
function number(value: number, text: string): number | string {
  return text.trim() === '' || !Number.isFinite(value) ? text : value
}

/** Turns fields of text into other types; undefined when there are none to turn. */
export function converters(types: Readonly<Record<string, string>> | undefined): ((record: LogRecord) => void) | undefined {
  const rows = Object.entries(types ?? {})
  if (rows.length === 0) return undefined
  return (record) => {
    for (const [field, type] of rows) {
      const value = record[field]
      if (typeof value === 'string') record[field] = CONVERT[type]?.(value)
    }
  }
}

/** One metadata field that a driver reads: the source of parsing, validation and the driver's docs page. */
export interface MetadataField {
  name: string
  kind: 'string' | 'bool' | 'int' | 'number' | 'duration' | 'enum'
  /** Shown in the docs; one sentence. */
  description: string
  required?: boolean
  /** How it is said that it is missing, where others look for certain words. Default: `missing required metadata field` and its name. */
  missing?: string
  /** As a user would write it. */
  default?: string
  values?: readonly string[]
  aliases?: readonly string[]
  sensitive?: boolean
  /** For durations written as a bare number: what one unit is, in milliseconds. Default 1000. */
  unit?: number
  min?: number
  max?: number
}

/** Field values by field name: string, boolean, number (durations in milliseconds), undefined when absent. */
export type MetadataValues = Record<string, string | boolean | number | undefined>

/** A setting that is missing or cannot be read. It is a mistake in the resource, never cured by waiting. */
export class MetadataError extends Error {
  override readonly name = 'MetadataError'
}

const TRUE = new Set(['y', 'yes', 'true', 't', 'on', '1'])
const FALSE = new Set(['n', 'no', 'false', 'f', 'off', '0', ''])
const UNITS: Record<string, number> = { ns: 1e-6, us: 1e-3, µs: 1e-3, μs: 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/** Milliseconds of a Go duration (`1h30m`, `500ms`, `1.5s`) or of a bare number times `unit`; undefined when it is neither. */
export function parseDuration(text: string, unit = 1000): number | undefined {
  const trimmed = text.trim()
  if (/^[+-]?\d+(\.\d+)?$/.test(trimmed)) return Number(trimmed) * unit
  const sign = trimmed.startsWith('-') ? -1 : 1
  const rest = trimmed.replace(/^[+-]/, '')
  if (!/^(\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))*$/.test(rest)) return undefined
  let total = 0
  for (const [, amount, name] of rest.matchAll(/(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g))
    total += Number(amount) * (UNITS[name as string] as number)
  return sign * total
}

/** Go's truthy words (`y yes true t on 1`, any case). */
export function isTruthy(text: string | undefined): boolean {
  return text !== undefined && TRUE.has(text.trim().toLowerCase())
}

/**
 * Reads a component's properties against its fields. Names are matched case-insensitively, unknown ones are ignored.
 * Throws MetadataError naming the field, what was found and what was expected.
 */
export function parseMetadata(fields: readonly MetadataField[], properties: Readonly<Record<string, string>>): MetadataValues {
  const given = new Map(Object.entries(properties).map(([name, value]) => [name.toLowerCase(), value]))
  const values: MetadataValues = {}
  for (const field of fields) {
    const raw = [field.name, ...(field.aliases ?? [])]
      .map((name) => given.get(name.toLowerCase()))
      .find((value) => value !== undefined && value !== '')
    if (raw === undefined && field.required)
      throw new MetadataError(`${field.missing ?? `missing required metadata field ${field.name}`}: ${field.description}`)
    const text = raw ?? field.default
    values[field.name] = text === undefined ? undefined : parseValue(field, text)
  }
  return values
}

function parseValue(field: MetadataField, text: string): string | boolean | number {
  const shown = field.sensitive ? 'the given value' : `"${text}"`
  const refuse = (expected: string): never => {
    throw new MetadataError(`metadata field ${field.name}: ${shown} is not ${expected}`)
  }
  switch (field.kind) {
    case 'string':
      return text
    case 'bool': {
      const word = text.trim().toLowerCase()
      return TRUE.has(word) ? true : FALSE.has(word) ? false : refuse('a boolean (true or false)')
    }
    case 'enum':
      return field.values?.find((value) => value.toLowerCase() === text.toLowerCase()) ?? refuse(`one of ${field.values?.join(', ')}`)
    case 'duration':
      return parseDuration(text, field.unit) ?? refuse('a duration such as 500ms, 5s or 1h30m')
    case 'int':
    case 'number': {
      const value = Number(text)
      if (text.trim() === '' || !Number.isFinite(value) || (field.kind === 'int' && !Number.isInteger(value)))
        return refuse(field.kind === 'int' ? 'a whole number' : 'a number')
      if (field.min !== undefined && value < field.min) return refuse(`at least ${field.min}`)
      if (field.max !== undefined && value > field.max) return refuse(`at most ${field.max}`)
      return value
    }
  }
}

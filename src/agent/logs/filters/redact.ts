import type { LogRecord } from '../event.ts'
import type { FilterSpec } from '../spec.ts'
import type { Filter } from './filter.ts'

/** Patterns by their name; a group `keep` stays in front of what stands instead. */
const KINDS: Readonly<Record<string, string>> = {
  email: '[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\\.[A-Za-z0-9-]{1,63}){1,8}',
  card: '\\b(?:\\d[ -]?){12,18}\\d\\b',
  ipv4: '\\b(?:(?:25[0-5]|2[0-4]\\d|1?\\d?\\d)\\.){3}(?:25[0-5]|2[0-4]\\d|1?\\d?\\d)\\b',
  bearer: '(?<=\\b[Bb]earer )[A-Za-z0-9._~+/=-]+',
  password: '(?<=(?:pass(?:word|wd)?|pwd|secret|token|api[_-]?key)["\']?\\s{0,3}[:=]\\s{0,3}["\']?)[^\\s"\',;&}]+',
}
/** Fields whose text is replaced whole when passwords are. */
const SECRET_FIELD = /^(?:pass(?:word|wd)?|pwd|secret|token|api[_-]?key|authorization)$/i

/** Replaces what matches in the text of fields, also inside of objects and arrays. */
export function redact({ fields, patterns = [], kinds = [], with: instead = '[redacted]' }: NonNullable<FilterSpec['redact']>): Filter {
  const rows = patterns.map((pattern) => ({ kind: '', expression: new RegExp(pattern, 'g') }))
  for (const kind of kinds) rows.push({ kind, expression: new RegExp(KINDS[kind] as string, kind === 'password' ? 'gi' : 'g') })
  if (rows.length === 0) throw new Error('redact needs patterns or kinds')
  const names = kinds.includes('password')
  const only = fields && new Set(fields)
  const text = (value: string) => {
    let out = value
    for (const { kind, expression } of rows) out = out.replace(expression, (found) => (kind === 'card' && !isCard(found) ? found : instead))
    return out
  }
  const walk = (value: unknown, depth: number): unknown => {
    if (typeof value === 'string') return text(value)
    // Numbers of cards are sometimes no text.
    if (typeof value === 'number' && Math.abs(value) > 1e11) return text(String(value)) === String(value) ? value : text(String(value))
    if (typeof value !== 'object' || value === null || depth > 100) return value
    if (Array.isArray(value)) return value.map((each) => walk(each, depth + 1))
    const record = value as LogRecord
    for (const name in record) {
      const inner = record[name]
      const changed = names && SECRET_FIELD.test(name) && typeof inner === 'string' ? instead : walk(inner, depth + 1)
      if (changed !== inner) Object.defineProperty(record, name, { value: changed, enumerable: true, configurable: true, writable: true })
    }
    return record
  }
  return (event) => {
    const { record } = event
    if (!only) walk(record, 0)
    else for (const name of only) if (Object.hasOwn(record, name)) record[name] = walk(record[name], 0)
    event.changed()
    return 'keep'
  }
}

/** Luhn: the numbers of cards have it, those of orders and times mostly not. */
function isCard(text: string): boolean {
  const digits = text.replaceAll(/\D/g, '')
  let sum = 0
  for (let index = 0; index < digits.length; index++) {
    const digit = Number(digits[digits.length - 1 - index])
    const twice = index % 2 === 1 ? digit * 2 : digit
    sum += twice > 9 ? twice - 9 : twice
  }
  return sum % 10 === 0
}

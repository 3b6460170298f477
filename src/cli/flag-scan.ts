import { parseDuration } from '../components/metadata.ts'
import { nearest } from '../nearest.ts'
import { parseQuantity } from '../quantity.ts'
import { FLAGS, type FlagName, type FlagSpec } from './flag-table.ts'

/** A command line that cannot be followed. `exitCode` 2: how it is written, 1: what it asks for. */
export class FlagError extends Error {
  override readonly name = 'FlagError'
  readonly exitCode: 1 | 2
  constructor(message: string, exitCode: 1 | 2) {
    super(message)
    this.exitCode = exitCode
  }
}

const BY_NAME = new Map<string, FlagSpec & { name: FlagName }>(FLAGS.map((flag) => [flag.name, flag]))
const GO_TRUE = new Set(['1', 't', 'T', 'TRUE', 'true', 'True'])
const GO_FALSE = new Set(['0', 'f', 'F', 'FALSE', 'false', 'False'])

/** Values by flag name, in the order given. The last one of a single-valued flag counts. */
export function scan(argv: readonly string[], warnings: string[]): Map<FlagName, string[]> {
  const raw = new Map<FlagName, string[]>()
  for (let index = 0; index < argv.length; index++) {
    const argument = argv[index] as string
    if (argument === '--') break
    if (!argument.startsWith('-') || argument === '-') {
      warnings.push(`argument "${argument}" is ignored: daprd takes flags only, written --name=value`)
      continue
    }
    const body = argument === '-h' ? 'help' : argument.replace(/^--?/, '')
    const equals = body.indexOf('=')
    const name = equals < 0 ? body : body.slice(0, equals)
    const spec = BY_NAME.get(name)
    if (!spec) throw new FlagError(`unknown flag: --${name}${suggestion(name)}`, 2)
    let value: string | undefined = equals < 0 ? undefined : body.slice(equals + 1)
    if (value === undefined && spec.kind === 'bool') value = 'true'
    if (value === undefined) {
      index += 1
      if (index >= argv.length) throw new FlagError(`flag needs an argument: --${name}`, 2)
      value = argv[index] as string
    }
    const values = raw.get(spec.name)
    if (values) values.push(value)
    else raw.set(spec.name, [value])
  }
  return raw
}

/** What to write instead of a deprecated flag. */
export function deprecation(name: FlagName): string | undefined {
  return BY_NAME.get(name)?.deprecated
}

/** Typed looks at the scanned values; each throws FlagError naming flag and value. */
export function reader(raw: ReadonlyMap<FlagName, string[]>) {
  const text = (name: FlagName) => raw.get(name)?.at(-1) ?? BY_NAME.get(name)?.default
  const refuse = (name: FlagName, expected: string): never => {
    throw new FlagError(`invalid argument "${text(name)}" for "--${name}" flag: expected ${expected}`, 2)
  }
  const int = (name: FlagName) => (/^[+-]?\d+$/.test(text(name) ?? '') ? Number(text(name)) : refuse(name, 'a whole number'))
  return {
    text,
    int,
    port(name: FlagName): number {
      const value = (text(name) ?? '').trim()
      if (value === '') return 0
      return /^\d+$/.test(value) && Number(value) <= 65535 ? Number(value) : refuse(name, 'a port between 0 and 65535')
    },
    bool(name: FlagName): boolean | undefined {
      const value = text(name)
      if (value === undefined) return undefined
      return GO_TRUE.has(value) ? true : GO_FALSE.has(value) ? false : refuse(name, 'true or false')
    },
    duration(name: FlagName): number | undefined {
      const value = text(name)
      if (value === undefined || value === '') return undefined
      // A bare number has no unit in Go, except zero.
      const parsed = /^[+-]?\d+(\.\d+)?$/.test(value) && Number(value) !== 0 ? undefined : parseDuration(value)
      return parsed ?? refuse(name, 'a duration such as 500ms, 5s or 1h30m')
    },
    list: (name: FlagName) => (raw.get(name) ?? []).flatMap(list),
    /** Bytes; the old flag counts only when the new one is absent; -1 is the default and 0 is no bound. */
    size(name: FlagName, old: FlagName, unit: number): number {
      const fallback = parseQuantity(BY_NAME.get(name)?.default ?? '') as number
      const bytes =
        raw.has(name) || !raw.has(old) ? (parseQuantity(text(name) ?? '') ?? refuse(name, 'a size such as 512Ki or 4Mi')) : int(old)
      if (bytes === -1) return fallback
      if (bytes === 0) return Number.POSITIVE_INFINITY
      if (bytes < 0) return refuse(raw.has(name) ? name : old, 'a size of at least 0, or -1 for the default')
      return raw.has(name) || !raw.has(old) ? bytes : bytes * unit
    },
  }
}

/** Items of comma separated text, trimmed, empty ones left out. */
export function list(text: string | undefined): string[] {
  return (text ?? '')
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '')
}

function suggestion(name: string): string {
  const near = nearest(name, BY_NAME.keys())
  return near ? `; did you mean --${near}?` : '; see --help for all of them'
}

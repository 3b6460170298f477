import { nearest } from '../nearest.ts'

/** One flag of a command. */
export interface Flag {
  name: string
  short?: string
  type: 'string' | 'boolean' | 'int' | 'list'
  /** Shown in the help and used when the flag is absent. */
  default?: string | number | boolean
  help: string
  /** Still works; its text is printed on use and the flag is left out of the help. */
  deprecated?: string
  required?: boolean
}

/** What a command line said: values by flag name, and the words that were no flags. */
export interface Parsed {
  /** Names of the flags that were written, sorted. */
  given: string[]
  words: string[]
  warnings: string[]
  text(name: string): string
  number(name: string): number
  on(name: string): boolean
  list(name: string): string[]
}

/** A command line that cannot be understood; exit code 255 and the usage. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
  /** The flag that was probably meant. */
  readonly meant: string | undefined
  constructor(message: string, meant?: string) {
    super(message)
    this.meant = meant
  }
}

type Value = string | number | boolean | string[]

/**
 * Reads arguments the way Dapr's tool does: flags and words mixed, `--flag value`, `--flag=value`, `-p 1`, `-p1`,
 * booleans bare or `=false`, lists repeated or comma-separated; everything after `--` is a word.
 */
export function parseArgs(args: readonly string[], flags: readonly Flag[]): Parsed {
  const values = new Map<string, Value>()
  const words: string[] = []
  const warnings: string[] = []
  const set = (flag: Flag, raw: string) => {
    if (flag.deprecated) warnings.push(`Flag --${flag.name} has been deprecated, ${flag.deprecated}`)
    if (flag.type === 'list') {
      const before = values.get(flag.name)
      values.set(flag.name, [...(Array.isArray(before) ? before : []), ...raw.split(',').filter((part) => part !== '')])
    } else {
      values.set(flag.name, convert(flag, raw))
    }
  }

  for (let index = 0; index < args.length; index++) {
    const word = args[index] as string
    if (word === '--') {
      words.push(...args.slice(index + 1))
      break
    }
    if (!word.startsWith('-') || word === '-') {
      words.push(word)
      continue
    }
    const next = (shown: string): string => {
      const value = args[++index]
      if (value === undefined) throw new UsageError(`flag needs an argument: ${shown}`)
      return value
    }
    if (word.startsWith('--')) {
      const equals = word.indexOf('=')
      const name = word.slice(2, equals < 0 ? undefined : equals)
      const flag = flags.find((candidate) => candidate.name === name)
      if (!flag)
        throw new UsageError(
          `unknown flag: --${name}`,
          nearest(
            name,
            flags.filter((one) => !one.deprecated).map((one) => one.name),
          ),
        )
      if (equals >= 0) set(flag, word.slice(equals + 1))
      else set(flag, flag.type === 'boolean' ? 'true' : next(`--${name}`))
      continue
    }
    for (let rest = word.slice(1); rest !== ''; ) {
      const letter = rest.charAt(0)
      const flag = flags.find((candidate) => candidate.short === letter)
      if (!flag) throw new UsageError(`unknown shorthand flag: '${letter}' in ${word}`)
      rest = rest.slice(1)
      if (rest.startsWith('=')) {
        set(flag, rest.slice(1))
        break
      }
      if (flag.type === 'boolean') {
        set(flag, 'true')
        continue
      }
      set(flag, rest === '' ? next(`'${letter}' in ${word}`) : rest)
      break
    }
  }

  // --help is asked for without what a real call would need.
  const missing = flags.filter((flag) => flag.required && !values.has(flag.name)).map((flag) => `"${flag.name}"`)
  if (missing.length > 0 && values.get('help') !== true) throw new UsageError(`required flag(s) ${missing.join(', ')} not set`)

  const value = (name: string): Value | undefined => values.get(name) ?? flags.find((flag) => flag.name === name)?.default
  return {
    given: [...values.keys()].sort(),
    words,
    warnings,
    text: (name) => String(value(name) ?? ''),
    number: (name) => Number(value(name) ?? 0),
    on: (name) => value(name) === true,
    list: (name) => {
      const found = value(name)
      return Array.isArray(found) ? found : []
    },
  }
}

function convert(flag: Flag, raw: string): Value {
  if (flag.type === 'int') {
    if (!/^[+-]?\d+$/.test(raw)) throw new UsageError(`invalid argument "${raw}" for "${spelled(flag)}" flag: a whole number is needed`)
    return Number(raw)
  }
  if (flag.type === 'boolean') {
    if (/^(1|t|true)$/i.test(raw)) return true
    if (/^(0|f|false)$/i.test(raw)) return false
    throw new UsageError(`invalid argument "${raw}" for "${spelled(flag)}" flag: true or false is needed`)
  }
  return raw
}

function spelled(flag: Flag): string {
  return flag.short ? `-${flag.short}, --${flag.name}` : `--${flag.name}`
}

/** The flags of a command as help lines, one a flag, aligned. */
export function flagHelp(flags: readonly Flag[]): string {
  const shown = flags.filter((flag) => !flag.deprecated)
  const left = shown.map((flag) => {
    const short = flag.short ? `-${flag.short}, ` : '    '
    const kind = flag.type === 'boolean' ? '' : flag.type === 'list' ? ' strings' : ` ${flag.type}`
    return `  ${short}--${flag.name}${kind}`
  })
  const width = Math.max(...left.map((text) => text.length))
  return shown
    .map((flag, index) => {
      const fallback = flag.default === undefined || flag.default === '' || flag.default === false ? '' : ` (default ${flag.default})`
      return `${(left[index] as string).padEnd(width)}   ${flag.help}${fallback}`
    })
    .join('\n')
}

import { BlockList, isIP } from 'node:net'
import type { Condition, FieldName } from './condition-parser.ts'
import { FIELDS, NOT_SEEN, type SecurityEvent, type Value, valueOfField } from './fields.ts'

export type Test = (event: SecurityEvent) => boolean

/** What a condition may name. */
export interface Names {
  macro(name: string): Condition | undefined
  list(name: string): readonly string[] | undefined
  /** File and line of a macro. */
  placeOf?(name: string): string | undefined
}

/** What is not understood or not seen here, unlike what is simply wrong. */
export class UnsupportedError extends Error {
  override readonly name = 'UnsupportedError'
  /** The innermost macro that asks for it. */
  readonly macro: string | undefined

  constructor(message: string, macro?: string) {
    super(message)
    this.macro = macro
  }
}

const DEEPEST = 100

/** A condition as a test of events. Throws what is wrong with it, or an UnsupportedError. */
export function compiled(condition: Condition, names: Names, depth: number): Test {
  if (depth > DEEPEST) throw new Error('macros name each other in a circle')
  switch (condition.kind) {
    case 'and':
    case 'or': {
      const tests = condition.all.map((one) => compiled(one, names, depth + 1))
      return condition.kind === 'and' ? (event) => tests.every((test) => test(event)) : (event) => tests.some((test) => test(event))
    }
    case 'not': {
      const test = compiled(condition.what, names, depth + 1)
      return (event) => !test(event)
    }
    case 'macro': {
      const macro = names.macro(condition.name)
      if (!macro) throw new Error(`there is no macro ${condition.name}`)
      try {
        return compiled(macro, names, depth + 1)
      } catch (error) {
        if (!(error instanceof UnsupportedError) || error.macro !== undefined) throw error
        const place = names.placeOf?.(condition.name)
        throw new UnsupportedError(
          `${error.message}, in macro ${condition.name}${place === undefined ? '' : ` (${place})`}`,
          condition.name,
        )
      }
    }
    case 'exists': {
      const read = reader(condition.field)
      return (event) => read(event).length > 0
    }
    case 'compare':
      return comparison(condition)
    case 'list':
      return listComparison(condition, names)
  }
}

/** Values of a field: none when it is not known, several for a list. */
function reader(field: FieldName): (event: SecurityEvent) => readonly string[] {
  const { name, argument, through } = field
  const kind = FIELDS[name]
  if (!kind) throw new UnsupportedError(NOT_SEEN[name] === undefined ? `the field ${name} is not seen here` : `${name}: ${NOT_SEEN[name]}`)
  if (argument !== undefined && kind !== 'list') throw new UnsupportedError(`${name} takes no argument here`)
  const unknown = through.find((one) => !Object.hasOwn(TRANSFORMERS, one))
  if (unknown !== undefined) throw new UnsupportedError(`the function ${unknown} is not understood here`)
  return (event) => {
    let values = texts(valueOfField(event, name, argument))
    for (const one of through) values = values.map(TRANSFORMERS[one] as (value: string) => string)
    return values
  }
}

const TRANSFORMERS: Readonly<Record<string, (value: string) => string>> = {
  tolower: (value) => value.toLowerCase(),
  toupper: (value) => value.toUpperCase(),
  basename: (value) => value.slice(value.lastIndexOf('/') + 1),
  len: (value) => String(value.length),
}

function texts(value: Value): readonly string[] {
  if (value === undefined) return []
  return Array.isArray(value) ? value.map(String) : [String(value)]
}

function comparison({ field, how, value }: Extract<Condition, { kind: 'compare' }>): Test {
  const read = reader(field)
  const some =
    (test: (given: string) => boolean): Test =>
    (event) =>
      read(event).some(test)
  if (FIELDS[field.name] === 'net') {
    const within = netOf([value])
    if (how === '=' || how === '==') return some(within)
    if (how === '!=') return some((given) => !within(given))
    throw new Error(`${field.name} takes =, != and in`)
  }
  switch (how) {
    case '=':
    case '==':
      return some((given) => same(given, value))
    case '!=':
      return (event) => {
        const given = read(event)
        return given.length > 0 && !given.some((one) => same(one, value))
      }
    case '<':
      return some((given) => Number(given) < Number(value))
    case '<=':
      return some((given) => Number(given) <= Number(value))
    case '>':
      return some((given) => Number(given) > Number(value))
    case '>=':
      return some((given) => Number(given) >= Number(value))
    case 'contains':
      return some((given) => given.includes(value))
    case 'icontains':
      return some((given) => given.toLowerCase().includes(value.toLowerCase()))
    case 'startswith':
      return some((given) => given.startsWith(value))
    case 'endswith':
      return some((given) => given.endsWith(value))
    case 'glob':
    case 'iglob': {
      const pattern = globPattern(value, how === 'iglob' ? 'is' : 's')
      return some((given) => pattern.test(given))
    }
    case 'regex': {
      const pattern = new RegExp(`^(?:${value})$`, 's')
      return some((given) => pattern.test(given.slice(0, 4096)))
    }
  }
}

function listComparison({ field, how, values }: Extract<Condition, { kind: 'list' }>, names: Names): Test {
  const read = reader(field)
  const items = itemsOf(values, names, 0)
  if (FIELDS[field.name] === 'net') {
    if (how === 'pmatch') throw new Error(`${field.name} takes =, != and in`)
    const within = netOf(items)
    return (event) => read(event).some(within)
  }
  if (how === 'pmatch') {
    const prefixes = items.map((item) => item.replace(/\/+$/, ''))
    return (event) => read(event).some((given) => prefixes.some((prefix) => given === prefix || given.startsWith(`${prefix}/`)))
  }
  const set = new Set(items)
  const numbers = new Set(items.filter((item) => NUMBER.test(item)).map(Number))
  return (event) => read(event).some((given) => set.has(given) || (NUMBER.test(given) && numbers.has(Number(given))))
}

/** Names of lists stand for what is in them. */
export function itemsOf(values: readonly string[], names: Pick<Names, 'list'>, depth: number): string[] {
  if (depth > DEEPEST) throw new Error('lists name each other in a circle')
  return values.flatMap((value) => {
    const list = names.list(value)
    return list ? itemsOf(list, names, depth + 1) : [value]
  })
}

const NUMBER = /^-?\d+(\.\d+)?$/
const same = (a: string, b: string) => a === b || (NUMBER.test(a) && NUMBER.test(b) && Number(a) === Number(b))

/** Addresses, and networks as 10.0.0.0/8. */
function netOf(items: readonly string[]): (address: string) => boolean {
  const list = new BlockList()
  for (const item of items) {
    const [address = '', bits] = item.split('/')
    const version = isIP(address)
    const width = Number(bits ?? (version === 6 ? 128 : 32))
    if (version === 0 || !(width >= 0 && width <= (version === 6 ? 128 : 32))) throw new Error(`${item} is no network: write 10.0.0.0/8`)
    list.addSubnet(address, width, version === 6 ? 'ipv6' : 'ipv4')
  }
  return (address) => {
    const version = isIP(address)
    return version > 0 && list.check(address, version === 6 ? 'ipv6' : 'ipv4')
  }
}

/** `*`, `?` and `[…]` as the shell has them; `*` takes slashes too, as in Falco. */
function globPattern(glob: string, flags: string): RegExp {
  let pattern = ''
  for (let at = 0; at < glob.length; at++) {
    const one = glob[at] as string
    const end = one === '[' ? glob.indexOf(']', at + 2) : -1
    if (one === '*') pattern += pattern.endsWith('.*') ? '' : '.*'
    else if (one === '?') pattern += '.'
    else if (end > 0) {
      const inside = glob.slice(at + 1, end).replaceAll(/[\\\]]/g, '\\$&')
      pattern += `[${inside.startsWith('!') ? `^${inside.slice(1)}` : inside}]`
      at = end
    } else pattern += one.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
  }
  return new RegExp(`^${pattern}$`, flags)
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat']

/** Reads a time of a log: milliseconds since 1970 with fractions; undefined: it is none. */
export type TimeParser = (value: unknown) => number | undefined

/** A format as strptime has it, or `iso8601`, `unixtime`, `float`; undefined: ISO 8601 or seconds since 1970. Throws for what it does not know. */
export function timeParser(format: string | undefined): TimeParser {
  switch (format) {
    case undefined:
      return (value) => seconds(value) ?? iso8601(value)
    case 'iso8601':
      return iso8601
    case 'unixtime':
    case 'float':
      return seconds
  }
  const { expression, parts } = strptime(format)
  return (value) => {
    const found = typeof value === 'string' ? expression.exec(value.trim()) : null
    return found ? assemble(parts, found) : undefined
  }
}

function seconds(value: unknown): number | undefined {
  const number = typeof value === 'string' && /^\s*\d{1,12}(\.\d+)?\s*$/.test(value) ? Number(value) : value
  return typeof number === 'number' && Number.isFinite(number) && number >= 0 && number < 1e12 ? number * 1000 : undefined
}

const ISO = /^\s*(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9})\d*)?)?\s*(Z|z|[+-]\d\d(?::?\d\d)?)?)?\s*$/

/** ISO 8601 to the nanosecond where a double has room for it; without zone it is UTC. */
function iso8601(value: unknown): number | undefined {
  const found = typeof value === 'string' ? ISO.exec(value) : null
  if (!found) return undefined
  const [, year, month, day, hour = 0, minute = 0, second = 0, fraction = '0', zone] = found
  const utc = Date.UTC(Number(year), Number(month) - 1, Number(day), Number(hour), Number(minute), Number(second))
  return Number.isNaN(utc) ? undefined : utc + Number(`0.${fraction}`) * 1000 - offsetOf(zone)
}

function offsetOf(zone: string | undefined): number {
  const found = /^([+-])(\d\d):?(\d\d)?$/.exec(zone ?? '')
  if (!found) return 0
  const minutes = Number(found[2]) * 60 + Number(found[3] ?? 0)
  return (found[1] === '-' ? -minutes : minutes) * 60_000
}

const DIRECTIVES: Readonly<Record<string, string>> = {
  Y: '(\\d{4})',
  y: '(\\d\\d)',
  m: '(\\d\\d?)',
  d: '\\s*(\\d\\d?)',
  e: '\\s*(\\d\\d?)',
  H: '(\\d\\d?)',
  I: '(\\d\\d?)',
  M: '(\\d\\d?)',
  S: '(\\d\\d?)',
  L: '(\\d{1,9})',
  N: '(\\d{1,9})',
  b: `(${MONTHS.join('|')})`,
  h: `(${MONTHS.join('|')})`,
  a: `(${DAYS.join('|')})`,
  p: '([AaPp][Mm])',
  z: '(Z|[+-]\\d\\d:?\\d\\d)',
  Z: '(Z|UTC|GMT|[+-]\\d\\d:?\\d\\d)',
  s: '(\\d{1,12})',
}
const SHORT: Readonly<Record<string, string>> = { T: '%H:%M:%S', F: '%Y-%m-%d', D: '%m/%d/%y', R: '%H:%M' }

function strptime(format: string): { expression: RegExp; parts: string[] } {
  const parts: string[] = []
  const long = format.replaceAll(/%([TFDR])/g, (_, name: string) => SHORT[name] as string)
  const source = long.replaceAll(/%([-0-9]?)([A-Za-z%])|([\\^$.*+?()[\]{}|/])/g, (_, __, name: string | undefined, special: string) => {
    if (name === undefined) return `\\${special}`
    if (name === '%') return '%'
    const directive = DIRECTIVES[name]
    if (!directive)
      throw new Error(
        `%${name} is not known in the time format ${format}; known are ${Object.keys(DIRECTIVES)
          .map((one) => `%${one}`)
          .join(' ')}`,
      )
    parts.push(name)
    return directive
  })
  return { expression: new RegExp(`^${source}$`), parts }
}

function assemble(parts: readonly string[], found: RegExpExecArray): number | undefined {
  const now = new Date()
  const has = (...names: string[]) =>
    names.map((name) => found[parts.indexOf(name) + 1]).find((_, at) => parts.includes(names[at] as string))
  const epoch = has('s')
  const fraction = Number(`0.${has('L', 'N') ?? 0}`) * 1000
  if (epoch !== undefined) return Number(epoch) * 1000 + fraction
  const month = has('b', 'h')
  const short = has('y')
  const year = has('Y') ?? (short === undefined ? undefined : String(Number(short) + (Number(short) < 69 ? 2000 : 1900)))
  let hour = Number(has('H') ?? has('I') ?? 0)
  const half = has('p')
  if (half) hour = (hour % 12) + (half.toLowerCase() === 'pm' ? 12 : 0)
  const at = (years: number) =>
    Date.UTC(
      years,
      month ? MONTHS.indexOf(month) : Number(has('m') ?? 1) - 1,
      Number(has('d', 'e') ?? 1),
      hour,
      Number(has('M') ?? 0),
      Number(has('S') ?? 0),
    ) +
    fraction -
    offsetOf(has('z', 'Z'))
  if (year !== undefined) return at(Number(year))
  // Without a year it is the last one in which the time is not in the future.
  const guess = at(now.getUTCFullYear())
  return guess > now.getTime() + 86_400_000 ? at(now.getUTCFullYear() - 1) : guess
}

/** Fills %Y and the like into a text, in UTC. */
export function formatTime(format: string, time: number): string {
  if (!format.includes('%')) return format
  const date = new Date(time)
  const two = (number: number) => String(number).padStart(2, '0')
  return format.replaceAll(/%([YymdHMSLFTsjb%])/g, (_, name: string) => {
    switch (name) {
      case 'Y':
        return String(date.getUTCFullYear())
      case 'y':
        return two(date.getUTCFullYear() % 100)
      case 'm':
        return two(date.getUTCMonth() + 1)
      case 'd':
        return two(date.getUTCDate())
      case 'H':
        return two(date.getUTCHours())
      case 'M':
        return two(date.getUTCMinutes())
      case 'S':
        return two(date.getUTCSeconds())
      case 'L':
        return String(date.getUTCMilliseconds()).padStart(3, '0')
      case 'F':
        return date.toISOString().slice(0, 10)
      case 'T':
        return date.toISOString().slice(11, 19)
      case 's':
        return String(Math.floor(time / 1000))
      case 'j':
        return String(
          Math.floor(
            (Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()) - Date.UTC(date.getUTCFullYear(), 0, 0)) / 86_400_000,
          ),
        ).padStart(3, '0')
      case 'b':
        return MONTHS[date.getUTCMonth()] as string
      default:
        return '%'
    }
  })
}

import type { FormatSpec } from '../formats/parser.ts'
import { FluentdError, type Place, type Section } from './section.ts'

export interface Format extends FormatSpec {
  multiline?: { start: string } | undefined
}

const APACHE2 =
  '^(?<host>[^ ]*) [^ ]* (?<user>[^ ]*) \\[(?<time>[^\\]]*)\\] "(?<method>\\S+)(?: +(?<path>(?:[^\\"]|\\.)*?)(?: +\\S*)?)?" (?<code>[^ ]*) (?<size>[^ ]*)(?: "(?<referer>(?:[^\\"]|\\.)*)" "(?<agent>(?:[^\\"]|\\.)*)")?$'
const NGINX =
  '^(?<remote>[^ ]*) (?<host>[^ ]*) (?<user>[^ ]*) \\[(?<time>[^\\]]*)\\] "(?<method>\\S+)(?: +(?<path>[^"]*?)(?: +\\S*)?)?" (?<code>[^ ]*) (?<size>[^ ]*)(?: "(?<referer>[^"]*)" "(?<agent>[^"]*)"(?:\\s+(?<http_x_forwarded_for>\\S+))?)?$'
const ACCESS_TIME = '%d/%b/%Y:%H:%M:%S %z'

/** `<parse>`, or the parameters of old where there is none. Undefined: neither is there. */
export function formatOf(owner: Section): Format | undefined {
  const section = owner.one('parse') ?? (owner.find('format') ? owner : undefined)
  if (!section) return undefined
  const given = section === owner ? section.find('format') : section.find('@type')
  if (!given) throw new FluentdError(section.place, '<parse> needs @type')
  const type = given.value
  const old = /^\/(.*)\/([mi]*)$/s.exec(type)
  if (old) return { ...timeOf(section, 'time'), format: 'regex', pattern: expressionOf(type, given, false) }
  switch (type) {
    case 'none':
      section.ignore('message_key')
      return { format: 'text' }
    case 'json':
      section.ignore('json_parser')
      return { ...timeOf(section, 'time'), format: 'json' }
    case 'ltsv':
      return { ...timeOf(section, 'time'), format: 'ltsv' }
    case 'logfmt':
      return { ...timeOf(section, 'time'), format: 'logfmt' }
    case 'regexp': {
      const expression = section.find('expression') ?? missing(section, 'expression')
      return { ...timeOf(section, 'time'), format: 'regex', pattern: expressionOf(expression.value, expression, false) }
    }
    case 'multiline':
      return multiline(section)
    case 'apache2':
      return { format: 'regex', pattern: APACHE2, types: { code: 'integer', size: 'integer' }, ...timeOf(section, 'time', ACCESS_TIME) }
    case 'nginx':
      return { format: 'regex', pattern: NGINX, ...timeOf(section, 'time', ACCESS_TIME) }
    case 'syslog':
      section.ignore('message_format', 'with_priority')
      return { format: 'syslog' }
    case 'cri':
      section.ignore('merge_cri_fields')
      return { format: 'cri' }
    default:
      throw new FluentdError(
        given,
        `the format ${type} is not known here; known are none, json, ltsv, logfmt, regexp, multiline, apache2, nginx, syslog and cri`,
      )
  }
}

function missing(section: Section, name: string): never {
  throw new FluentdError(section.place, `<${section.name}> needs ${name}`)
}

function multiline(section: Section): Format {
  const first = section.find('format_firstline') ?? missing(section, 'format_firstline')
  let pattern = ''
  for (let number = 1; number <= 20; number++) {
    const part = section.find(`format${number}`)
    if (!part) break
    pattern += /^\/(.*)\/$/s.exec(part.value)?.[1] ?? part.value
  }
  section.ignore('multiline_flush_interval')
  const start = expressionOf(first.value, first, false)
  if (pattern === '') return { format: 'text', multiline: { start } }
  return { ...timeOf(section, 'time'), format: 'regex', pattern: expressionOf(`/${pattern}/m`, first, true), multiline: { start } }
}

function timeOf(section: Section, key: string, format?: string): Pick<FormatSpec, 'timeField' | 'timeFormat' | 'keepTime' | 'types'> {
  const type = section.find('time_type')
  if (type && !/^(string|float|unixtime)$/.test(type.value))
    throw new FluentdError(type, `time_type is string, float or unixtime, not ${type.value}`)
  const given = section.text('time_format') ?? format
  const timeFormat = type && type.value !== 'string' ? type.value : given === '%iso8601' ? 'iso8601' : given
  const types = typesOf(section)
  section.ignore('estimate_current_event_time', 'utc')
  return {
    timeField: section.text('time_key') ?? key,
    ...(timeFormat !== undefined && { timeFormat }),
    keepTime: section.flag('keep_time_key') ?? false,
    ...(types && { types }),
  }
}

/** `a:integer,b:float`, or the same as an object. */
function typesOf(section: Section): Record<string, string> | undefined {
  const given = section.find('types')
  if (!given) return undefined
  const pairs: [string, string][] = given.value.startsWith('{')
    ? Object.entries(JSON.parse(given.value) as Record<string, string>)
    : given.value.split(',').map((pair) => pair.trim().split(':') as [string, string])
  for (const [name, type] of pairs)
    if (!['string', 'integer', 'float', 'bool', 'array'].includes(type))
      throw new FluentdError(given, `the type of ${name} is string, integer, float, bool or array, not ${type}`)
  return Object.fromEntries(pairs)
}

/** A regular expression of Ruby's, as ECMAScript has it. `lines`: it is for several lines. */
export function expressionOf(text: string, place: Place, lines: boolean): string {
  const [, inner = text, flags = ''] = /^\/(.*)\/([a-z]*)$/s.exec(text) ?? []
  const source = inner
    .replaceAll('\\A', '^')
    .replaceAll(/\\[zZ]/g, '$')
    .replaceAll('\\h', '[0-9a-fA-F]')
    .replaceAll('\\/', '/')
  const modifiers = `${flags.includes('i') ? 'i' : ''}${lines ? 'm' : ''}${flags.includes('m') ? 's' : ''}`
  const whole = modifiers === '' ? source : `(?${modifiers}:${source})`
  try {
    new RegExp(whole)
  } catch (error) {
    throw new FluentdError(place, `this regular expression of Ruby's is none here: ${(error as Error).message}`)
  }
  return whole
}

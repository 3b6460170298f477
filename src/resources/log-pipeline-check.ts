import { parseQuantity } from '../quantity.ts'

type Entry = Readonly<Record<string, unknown>>
interface Complaint {
  message: string
  path?: readonly string[]
}

const SOURCES = ['tail', 'http', 'forward', 'syslog']
const FILTERS = ['parse', 'grep', 'add', 'remove', 'redact', 'sample']
const OUTPUTS = ['stdout', 'file', 'http', 'elasticsearch', 'loki', 'otlp', 'forward', 'syslog', 'pubsub', 'drop']
const REGEXES = new Set(['pattern', 'start', 'continue'])
const QUANTITIES = new Set(['maxBytes', 'segmentBytes', 'maxLine', 'maxBody', 'maxMessage'])

/** What the schema of a LogPipeline cannot say. */
export function checkLogPipeline(spec: Entry): Complaint | undefined {
  const {
    sources = [],
    filters = [],
    outputs = [],
    fluentd,
  } = spec as {
    sources?: Entry[]
    filters?: Entry[]
    outputs?: Entry[]
    fluentd?: Entry
  }
  if (fluentd && (fluentd.file === undefined) === (fluentd.config === undefined))
    return { path: ['spec', 'fluentd'], message: 'spec.fluentd needs file or config, and not both' }
  if (!fluentd && sources.length === 0) return { path: ['spec'], message: 'spec.sources is missing: nothing would come in' }
  if (!fluentd && outputs.length === 0)
    return { path: ['spec'], message: 'spec.outputs is missing: add one, or `drop: {}` when events are to go nowhere' }
  return (
    kinds(sources, 'sources', SOURCES) ??
    kinds(filters, 'filters', FILTERS) ??
    kinds(outputs, 'outputs', OUTPUTS) ??
    names(sources, 'sources') ??
    names(outputs, 'outputs') ??
    posts(sources) ??
    formats(sources, filters) ??
    values(spec, ['spec'])
  )
}

/** Paths on the agents' port that sources of a pipeline are posted to. */
export function postedTo({ sources = [] }: { sources?: Entry[] }): string[] {
  const http = sources.flatMap((source) => (source.http ? [source.http as { path?: string; port?: number }] : []))
  return http.filter(({ port }) => port === undefined).map(({ path = '/log' }) => path)
}

function kinds(entries: readonly Entry[], group: string, known: readonly string[]): Complaint | undefined {
  for (const [index, entry] of entries.entries()) {
    const given = known.filter((kind) => entry[kind] !== undefined)
    if (given.length === 1) continue
    const has = given.length === 0 ? 'none' : given.join(' and ')
    return {
      path: ['spec', group, String(index)],
      message: `spec.${group}[${index}] must have exactly one of ${known.join(', ')}; it has ${has}`,
    }
  }
  return undefined
}

function names(entries: readonly Entry[], group: string): Complaint | undefined {
  const seen = new Set<unknown>()
  for (const [index, { name }] of entries.entries()) {
    if (name !== undefined && seen.has(name))
      return { path: ['spec', group, String(index), 'name'], message: `spec.${group}[${index}].name "${name}" is there twice` }
    seen.add(name)
  }
  return undefined
}

function posts(sources: readonly Entry[]): Complaint | undefined {
  const seen = new Set<string>()
  for (const [index, source] of sources.entries()) {
    const [path] = postedTo({ sources: [source] })
    if (path === undefined) continue
    if (seen.has(path))
      return {
        path: ['spec', 'sources', String(index), 'http'],
        message: `spec.sources[${index}].http: ${path} on the agents' port is served by another source: give one an http.path, or an http.port, of its own`,
      }
    seen.add(path)
  }
  return undefined
}

function formats(sources: readonly Entry[], filters: readonly Entry[]): Complaint | undefined {
  const parsers: [string[], Entry][] = []
  for (const [index, { tail }] of sources.entries()) if (tail) parsers.push([['spec', 'sources', String(index), 'tail'], tail as Entry])
  for (const [index, { parse }] of filters.entries()) if (parse) parsers.push([['spec', 'filters', String(index), 'parse'], parse as Entry])
  for (const [path, { format, pattern }] of parsers) {
    const where = `${path[0]}.${path[1]}[${path[2]}].${path[3]}`
    if (format === 'regex' && pattern === undefined) return { path, message: `${where}.pattern is missing: format regex needs it` }
    if (format !== 'regex' && pattern !== undefined)
      return { path: [...path, 'pattern'], message: `${where}.pattern is for format regex only` }
  }
  return undefined
}

/** Regular expressions and quantities wherever they stand. */
function values(value: unknown, path: readonly string[]): Complaint | undefined {
  const last = path.at(-1) as string
  const inRedact = path.at(-2) === 'patterns' && path.at(-3) === 'redact'
  if (typeof value === 'string' && (REGEXES.has(last) || inRedact)) {
    try {
      new RegExp(value)
    } catch (error) {
      return { path, message: `${path.join('.')} is no regular expression: ${(error as Error).message}` }
    }
  }
  if (typeof value === 'string' && QUANTITIES.has(last)) {
    const bytes = parseQuantity(value)
    if (bytes === undefined || bytes < 1024 || !Number.isSafeInteger(bytes))
      return { path, message: `${path.join('.')} must be a quantity from 1Ki on such as 64Mi, not "${value}"` }
  }
  if (typeof value !== 'object' || value === null) return undefined
  for (const [key, inner] of Object.entries(value)) {
    const found = values(inner, [...path, key])
    if (found) return found
  }
  return undefined
}

import { parse } from 'yaml'
import type { Middleware, MiddlewareRequest } from '../../../blocks/middleware/driver.ts'
import { messageOf } from '../../../errors.ts'
import type { DriverModule } from '../../component.ts'
import { MetadataError, type MetadataField } from '../../metadata.ts'
import { parsePattern, plainPath } from '../pattern.ts'
import { step } from '../step.ts'

const metadata: readonly MetadataField[] = [
  {
    name: 'routes',
    kind: 'string',
    description:
      'JSON or YAML from path to path; `{name}` and `{name:pattern}` in the first one become parameters of the query. Without it every field is such a pair, which is deprecated.',
  },
]

interface Alias {
  pattern: RegExp
  names: readonly string[]
  /** Percent-encoded. */
  path: string
}

function compile(from: string, to: string): Alias {
  if (from === '' || to === '') throw new MetadataError('invalid key/value pair in metadata: must not be empty')
  const names: string[] = []
  let text = ''
  let rest = 0
  for (const match of from.matchAll(/\{([^{}:]+)(?::((?:[^{}]|\{[^{}]*\})+))?\}/g)) {
    text += `${escaped(from.slice(rest, match.index))}(${match[2] ?? '[^/]+'})`
    names.push(match[1] as string)
    rest = match.index + match[0].length
  }
  const pattern = parsePattern(`routes: ${from}`, `^${text}${escaped(from.slice(rest))}$`)
  return { pattern, names, path: encodeURI(to).replaceAll('?', '%3F').replaceAll('#', '%23') }
}

const escaped = (text: string) => text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&')

function readRoutes(properties: Readonly<Record<string, string>>, warn: (message: string) => void): Alias[] {
  const given = Object.entries(properties)
  const routes = given.find(([name]) => name.toLowerCase() === 'routes')?.[1]
  if (given.length === 0) return []
  if (given.length > 1 || !routes) {
    warn('routes as fields of their own are deprecated: put them into the field routes')
    return given.map(([from, to]) => compile(from, to))
  }
  let read: unknown
  try {
    // Tabs are common in JSON, and no YAML.
    read = routes.trimStart().startsWith('{') ? JSON.parse(routes) : parse(routes)
  } catch (error) {
    throw new MetadataError(`metadata field routes is neither JSON nor YAML: ${messageOf(error)}`)
  }
  if (read === null || typeof read !== 'object') throw new MetadataError('metadata field routes holds no pairs of paths')
  return Object.entries(read).map(([from, to]) => compile(from, String(to)))
}

function alias(passing: MiddlewareRequest, aliases: readonly Alias[]): void {
  const path = plainPath(passing.path)
  for (const { pattern, names, path: to } of aliases) {
    const match = pattern.exec(path)
    if (!match) continue
    passing.path = to
    if (names.length === 0) return
    const query = new URLSearchParams(passing.query)
    for (const [i, name] of names.entries()) query.append(name, match[i + 1] as string)
    query.sort()
    passing.query = query.toString()
    return
  }
}

export const driver: DriverModule<Middleware> = {
  summary: 'Gives paths of requests another path, with parts of the first as parameters of the query.',
  metadata,
  create(context) {
    const aliases = readRoutes(context.properties, (message) => context.log.warn(message))
    return step((passing) => {
      alias(passing, aliases)
      return undefined
    })
  },
}

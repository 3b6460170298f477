import type { Route } from './route.ts'

/** What a router needs to know of a route. */
export interface RoutedPath {
  methods: readonly string[]
  path: string
}

interface Node<R> {
  statics: Map<string, Node<R>>
  param: Node<R> | undefined
  /** Routes that end here, by method. */
  routes: Map<string, Match<R>>
  /** Routes whose `*` begins here, by method. */
  wildcard: Map<string, Match<R>>
}

interface Match<R> {
  route: R
  names: readonly string[]
}

export interface Found<R = Route> {
  route: R
  params: Record<string, string>
}

/** A route parameter that cannot be decoded. */
export class ParameterError extends Error {
  override readonly name = 'ParameterError'
}

const node = <R>(): Node<R> => ({ statics: new Map(), param: undefined, routes: new Map(), wildcard: new Map() })

/** Go's url.QueryUnescape: `+` is a space; throws ParameterError on a bad escape. */
function queryUnescape(name: string, text: string): string {
  if (!text.includes('%') && !text.includes('+')) return text
  const bytes = text.replaceAll('+', ' ')
  try {
    return decodeURIComponent(bytes)
  } catch {
    const bad = /%(?![0-9a-fA-F]{2}).{0,2}/.exec(bytes)
    if (!bad)
      return Buffer.from(
        bytes.replace(/%([0-9a-fA-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
        'latin1',
      ).toString()
    throw new ParameterError(`failed to unescape request parameter "${name}". Error: invalid URL escape "${bad[0]}"`)
  }
}

/**
 * A segment trie over still-escaped paths: static segments beat parameters, parameters beat `*`.
 * Ours because parameters follow Go's query rules and `%2F` must stay inside its segment.
 */
export class Router<R extends RoutedPath = Route> {
  readonly #root = node<R>()

  add(route: R): void {
    let at = this.#root
    const names: string[] = []
    const segments = route.path.split('/').slice(1)
    let target: Map<string, Match<R>> | undefined
    for (const segment of segments) {
      if (segment === '*') {
        names.push('*')
        target = at.wildcard
        break
      }
      if (segment.startsWith(':')) {
        names.push(segment.slice(1))
        at.param ??= node()
        at = at.param
      } else {
        let next = at.statics.get(segment)
        if (!next) {
          next = node()
          at.statics.set(segment, next)
        }
        at = next
      }
    }
    target ??= at.routes
    for (const method of route.methods) target.set(method, { route, names })
  }

  /** The route for a cleaned path, or undefined; throws ParameterError when a parameter cannot be decoded. */
  find(method: string, path: string): Found<R> | undefined {
    const segments = path.split('/')
    const values: string[] = []
    const match = this.#walk(this.#root, method, segments, 1, values)
    if (!match) return undefined
    const params: Record<string, string> = {}
    for (let i = 0; i < match.names.length; i++) {
      const name = match.names[i] as string
      params[name] = queryUnescape(name, values[i] as string)
    }
    return { route: match.route, params }
  }

  #walk(at: Node<R>, method: string, segments: readonly string[], index: number, values: string[]): Match<R> | undefined {
    if (index === segments.length) return at.routes.get(method)
    const segment = segments[index] as string
    const next = at.statics.get(segment)
    if (next) {
      const found = this.#walk(next, method, segments, index + 1, values)
      if (found) return found
    }
    if (at.param && segment !== '') {
      values.push(segment)
      const found = this.#walk(at.param, method, segments, index + 1, values)
      if (found) return found
      values.pop()
    }
    const wild = at.wildcard.get(method)
    if (wild) {
      values.push(segments.slice(index).join('/'))
      return wild
    }
    return undefined
  }
}

/** Go's path.Clean on an escaped path, keeping nothing of `//`, `.` and `..`; always begins with `/`. */
export function cleanPath(path: string): string {
  if (!path.includes('//') && !path.includes('/.') && path.startsWith('/')) return path
  const kept: string[] = []
  for (const segment of path.split('/')) {
    if (segment === '' || segment === '.') continue
    if (segment === '..') kept.pop()
    else kept.push(segment)
  }
  const trailing = path.endsWith('/') && kept.length > 0 ? '/' : ''
  return `/${kept.join('/')}${trailing}`
}

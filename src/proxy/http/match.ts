import type { FieldMatch, RequestMatch, TextMatch } from '../model/match.ts'
import { joined } from './fields.ts'

export type TextTest = (text: string) => boolean

/** What of a request its route is chosen by. */
export interface Matched {
  method: string
  /** With the query. */
  path: string
  /** Where the query begins, or the length of the path. */
  pathEnd: number
  authority: string
  fields: readonly string[]
}

/** A regular expression that must fit the whole text. Throws for what is none. */
export function wholeRegex(source: string, flags = ''): RegExp {
  return new RegExp(`^(?:${source.replace(/\(\?P</g, '(?<')})$`, flags)
}

export function compileText(match: TextMatch): TextTest {
  const test = plainText(match)
  return match.not ? (text) => !test(text) : test
}

function plainText({ exact, prefix, suffix, contains, regex, ignoreCase }: TextMatch): TextTest {
  if (regex !== undefined) {
    const pattern = wholeRegex(regex, ignoreCase ? 'i' : '')
    return (text) => pattern.test(text)
  }
  const fold = ignoreCase ? (text: string) => text.toLowerCase() : (text: string) => text
  const wanted = fold(exact ?? prefix ?? suffix ?? contains ?? '')
  if (exact !== undefined) return (text) => fold(text) === wanted
  if (prefix !== undefined) return (text) => fold(text).startsWith(wanted)
  if (suffix !== undefined) return (text) => fold(text).endsWith(wanted)
  if (contains !== undefined) return (text) => fold(text).includes(wanted)
  return () => true
}

/** A test of one header; `:method`, `:path` and `:authority` are headers, too. */
export function compileHeader(match: FieldMatch): (request: Matched) => boolean {
  const name = match.name.toLowerCase()
  const test = compileValue(match)
  const value = (request: Matched) =>
    name === ':path'
      ? request.path
      : name === ':method'
        ? request.method
        : name === ':authority' || name === 'host'
          ? request.authority
          : joined(request.fields, name)
  return (request) => test(value(request))
}

/** An absent value fits only a negated match: of presence, or of anything. */
function compileValue(match: FieldMatch): (value: string | undefined) => boolean {
  const { range, not } = match
  let test: TextTest
  if (range) test = (text) => /^[+-]?\d+$/.test(text) && Number(text) >= range.from && Number(text) < range.to
  else test = plainText(match)
  return (value) => (value !== undefined && test(value)) !== (not === true)
}

function compileQuery(match: FieldMatch): (query: string) => boolean {
  const test = compileValue(match)
  const { name } = match
  return (query) => test(queryValue(query, name))
}

/** The first value of a parameter as it is written, undefined when it is not there. */
export function queryValue(query: string, name: string): string | undefined {
  for (const part of query.split('&')) {
    const equals = part.indexOf('=')
    if ((equals < 0 ? part : part.slice(0, equals)) === name) return equals < 0 ? '' : part.slice(equals + 1)
  }
  return undefined
}

/** A test of everything that a route asks of a request. `random`: from 0 to 100. */
export function compileRequest(match: RequestMatch): (request: Matched) => boolean {
  const path = compilePath(match)
  const headers = match.headers.map(compileHeader)
  const query = match.query.map(compileQuery)
  const { methods, percent, grpc } = match
  const plain = headers.length === 0 && query.length === 0 && methods.length === 0 && percent === undefined && !grpc
  if (plain) return path
  return (request) => {
    if (!path(request)) return false
    if (methods.length > 0 && !methods.includes(request.method)) return false
    if (grpc && !/^application\/grpc(?:$|[+;])/.test(joined(request.fields, 'content-type') ?? '')) return false
    for (const test of headers) if (!test(request)) return false
    if (query.length > 0) {
      const text = request.path.slice(request.pathEnd + 1)
      for (const test of query) if (!test(text)) return false
    }
    return percent === undefined || Math.random() * 100 < percent
  }
}

function compilePath({ path, ignoreCase }: RequestMatch): (request: Matched) => boolean {
  const fold = ignoreCase ? (text: string) => text.toLowerCase() : (text: string) => text
  if ('prefix' in path) {
    const prefix = fold(path.prefix)
    if (prefix === '/' || prefix === '') return (request) => request.path.startsWith(prefix)
    // The query is no part of the path: a prefix may not reach into it.
    return (request) => fold(request.path).startsWith(prefix) && request.pathEnd >= prefix.length
  }
  if ('exact' in path) {
    const exact = fold(path.exact)
    return (request) => request.pathEnd === exact.length && fold(request.path).startsWith(exact)
  }
  if ('pathPrefix' in path) {
    const prefix = fold(path.pathPrefix)
    return (request) => {
      const text = fold(request.path)
      return text.startsWith(prefix) && (request.pathEnd === prefix.length || text.charCodeAt(prefix.length) === 47)
    }
  }
  const pattern = wholeRegex(path.regex, ignoreCase ? 'i' : '')
  return (request) => pattern.test(request.path.slice(0, request.pathEnd))
}

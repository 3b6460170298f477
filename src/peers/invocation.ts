import type { Readable } from 'node:stream'

/** One call to an app's method, free of the wire it came by. */
export interface Invocation {
  /** HTTP method, upper case; empty when the caller gave no HTTP extension, which only gRPC apps do without. */
  verb: string
  /** Decoded and normalised; see `normalizeMethod`. With a leading slash where a gRPC caller gave one, for a gRPC app to see. */
  method: string
  /** Query text without `?`. */
  query: string
  /**
   * `[name, value, …]`, already without the names that never travel. As HTTP headers (`forwardableHeaders`), or with
   * `internal` as the metadata of sidecars, which the call to the app translates for its wire.
   */
  headers: string[]
  internal?: boolean
  contentType: string | undefined
  /** Type of a protobuf body; empty or absent: none. */
  typeUrl?: string | undefined
  /** Bytes of the body when known. */
  length: number | undefined
  /** The traceparent that another sidecar gave with its call, beside that of `headers`; known only where calls are traced. */
  calledBy?: string | undefined
  /** A Buffer may be sent again, a Readable only while nothing has been read. */
  body: Buffer | Readable | undefined
}

/** A method name that no app can be asked for. */
export class MethodError extends Error {
  override readonly name = 'MethodError'
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters to refuse
const REFUSED = /[#?\u0000-\u001f\u007f]/
const UNCLEAN = /\/\/|\/\.|^\.|^\/|\/$/

/**
 * The one normal form of a method path, taken once, before any rule looks at it: no empty, `.` or `..` segments, no slash
 * at either end, never above the root. Throws MethodError for `#`, `?` and control characters.
 */
export function normalizeMethod(method: string): string {
  if (REFUSED.test(method))
    throw new MethodError(`invalid method: ${JSON.stringify(method)} contains a character that is not allowed in a path`)
  return cleanMethod(method)
}

/** The same for methods of gRPC, which keep the slash they begin with. */
export function normalizeGrpcMethod(method: string): string {
  const normal = normalizeMethod(method)
  return method.startsWith('/') && normal !== '' ? `/${normal}` : normal
}

/** A method without empty, `.` or `..` segments; what is left of `..` above the root goes. */
export function cleanMethod(method: string): string {
  if (!UNCLEAN.test(method)) return method
  const kept: string[] = []
  for (const segment of method.split('/')) {
    if (segment === '' || segment === '.') continue
    if (segment === '..') kept.pop()
    else kept.push(segment)
  }
  return kept.join('/')
}

const PLAIN_PATH = /^[A-Za-z0-9\-._~!$&'()*+,;=:@/]*$/

/** Percent-encodes a normalised method for a request line. Sequences `%XX` stay; a lone `%` throws MethodError. */
export function escapePath(method: string): string {
  if (method.startsWith('/')) return escapePath(method.slice(1))
  if (PLAIN_PATH.test(method)) return `/${method}`
  const bad = /%(?![0-9A-Fa-f]{2}).{0,2}/.exec(method)
  if (bad) throw new MethodError(`invalid method: invalid URL escape ${JSON.stringify(bad[0])}`)
  return `/${method.toWellFormed().replace(/[^A-Za-z0-9\-._~!$&'()*+,;=:@/%[\]]+/g, encodeURIComponent)}`
}

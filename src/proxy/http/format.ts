import { hostname } from 'node:os'
import { joined } from './fields.ts'

/** What formats of access logs and of header values can tell. */
export interface Told {
  readonly method: string
  readonly path: string
  readonly originalPath: string
  readonly authority: string
  readonly protocol: string
  readonly scheme: string
  readonly requestFields: readonly string[]
  readonly replyFields: readonly string[]
  /** 0: none was sent. */
  readonly status: number
  readonly details: string
  readonly flags: string
  /** Milliseconds since 1970. */
  readonly startTime: number
  /** Milliseconds; undefined: it did not come so far. */
  readonly duration: number
  readonly requestDuration: number | undefined
  readonly responseDuration: number | undefined
  readonly received: number
  readonly sent: number
  readonly upstreamHost: string | undefined
  readonly upstreamCluster: string | undefined
  readonly upstreamFailure: string | undefined
  readonly routeName: string
  readonly attempts: number
  readonly connection: ToldConnection
}

export interface ToldConnection {
  readonly id: number
  readonly remoteAddress: string
  readonly remotePort: number
  readonly localAddress: string
  readonly localPort: number
  readonly serverName: string | undefined
  readonly peerSubject: string | undefined
  readonly peerUris: readonly string[]
  readonly tlsVersion: string | undefined
}

/** The format that access logs have unless told. */
export const DEFAULT_FORMAT =
  '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"\n'

type Value = string | number | undefined
type Operator = (told: Told) => Value

const withPort = (address: string, port: number) => (address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`)
const remote: Operator = ({ connection }) => withPort(connection.remoteAddress, connection.remotePort)
const remoteAlone: Operator = ({ connection }) => connection.remoteAddress

const OPERATORS: Readonly<Record<string, Operator>> = {
  BYTES_RECEIVED: (told) => told.received,
  BYTES_SENT: (told) => told.sent,
  CONNECTION_ID: (told) => told.connection.id,
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS: remote,
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT: remoteAlone,
  DOWNSTREAM_LOCAL_ADDRESS: ({ connection }) => withPort(connection.localAddress, connection.localPort),
  DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT: ({ connection }) => connection.localAddress,
  DOWNSTREAM_LOCAL_PORT: ({ connection }) => connection.localPort,
  DOWNSTREAM_PEER_SUBJECT: ({ connection }) => connection.peerSubject,
  DOWNSTREAM_PEER_URI_SAN: ({ connection }) => connection.peerUris.join(',') || undefined,
  DOWNSTREAM_REMOTE_ADDRESS: remote,
  DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: remoteAlone,
  DOWNSTREAM_TLS_VERSION: ({ connection }) => connection.tlsVersion,
  DURATION: (told) => Math.round(told.duration),
  HOSTNAME: () => hostname(),
  PROTOCOL: (told) => told.protocol,
  REQUEST_DURATION: (told) => rounded(told.requestDuration),
  REQUESTED_SERVER_NAME: ({ connection }) => connection.serverName,
  RESPONSE_CODE: (told) => told.status,
  RESPONSE_CODE_DETAILS: (told) => told.details || undefined,
  RESPONSE_DURATION: (told) => rounded(told.responseDuration),
  RESPONSE_FLAGS: (told) => told.flags || undefined,
  ROUTE_NAME: (told) => told.routeName || undefined,
  UPSTREAM_CLUSTER: (told) => told.upstreamCluster,
  UPSTREAM_HOST: (told) => told.upstreamHost,
  UPSTREAM_REMOTE_ADDRESS: (told) => told.upstreamHost,
  UPSTREAM_REQUEST_ATTEMPT_COUNT: (told) => told.attempts,
  UPSTREAM_TRANSPORT_FAILURE_REASON: (told) => told.upstreamFailure,
}

const rounded = (ms: number | undefined) => (ms === undefined ? undefined : Math.round(ms))

/** Operators that take something in parentheses. */
const WITH_ARGUMENT: Readonly<Record<string, (argument: string) => Operator>> = {
  REQ: (argument) => headers(argument, requestHeader),
  RESP: (argument) => headers(argument, (told, name) => joined(told.replyFields, name)),
  REQ_WITHOUT_QUERY: (argument) => headers(argument, (told, name) => requestHeader(told, name)?.split('?')[0]),
  START_TIME: (argument) => (told) => timeText(new Date(told.startTime), argument),
  ENVIRONMENT: (argument) => {
    const text = process.env[argument]
    return () => text
  },
}

function requestHeader(told: Told, name: string): string | undefined {
  if (name === ':method') return told.method
  if (name === ':path') return told.path
  if (name === ':authority' || name === 'host') return told.authority
  if (name === ':scheme') return told.scheme
  if (name === 'x-envoy-original-path') return told.originalPath === told.path ? undefined : told.originalPath
  return joined(told.requestFields, name)
}

/** `A?B`: the second where the first is absent. */
function headers(argument: string, find: (told: Told, name: string) => string | undefined): Operator {
  const [first = '', second] = argument.toLowerCase().split('?', 2)
  return second === undefined ? (told) => find(told, first) : (told) => find(told, first) ?? find(told, second)
}

type Part = string | Operator

const COMMAND = /%(?:([A-Z_0-9]+)(?:\(([^)]*)\))?(?::(\d+))?)?%/g

/** Takes a format apart. Throws for an operator that is not known here. */
function parts(format: string): Part[] {
  const found: Part[] = []
  let at = 0
  for (const match of format.matchAll(COMMAND)) {
    const [whole, name, argument, limit] = match
    if (match.index > at) found.push(format.slice(at, match.index))
    at = match.index + whole.length
    if (name === undefined) {
      found.push('%')
      continue
    }
    const make = Object.hasOwn(WITH_ARGUMENT, name) ? WITH_ARGUMENT[name] : undefined
    const plain = argument === undefined && Object.hasOwn(OPERATORS, name) ? OPERATORS[name] : undefined
    const operator = plain ?? make?.(argument ?? '')
    if (!operator || (make && argument === undefined && name !== 'START_TIME'))
      throw new Error(
        `the operator ${whole} is not known here; known: ${[...Object.keys(OPERATORS), ...Object.keys(WITH_ARGUMENT)].join(', ')}`,
      )
    const most = limit === undefined ? undefined : Number(limit)
    found.push(most === undefined ? operator : (told) => operator(told)?.toString().slice(0, most))
  }
  if (at < format.length) found.push(format.slice(at))
  if (found.some((part) => typeof part === 'string' && part !== '%' && part.includes('%')))
    throw new Error(`a % that begins no operator in ${JSON.stringify(format)}; write %% for one that stands for itself`)
  return found
}

/** A text with operators, `absent` where one has nothing to tell. Throws for an operator that is not known. */
export function compileFormat(format: string, absent = '-'): (told: Told) => string {
  const all = parts(format)
  if (all.every((part) => typeof part === 'string')) {
    const text = all.join('')
    return () => text
  }
  return (told) => {
    let text = ''
    for (const part of all) text += typeof part === 'string' ? part : (part(told) ?? absent)
    return text
  }
}

/** Header values: what has nothing to tell is empty. */
export function compileValue(format: string): (told: Told) => string {
  return compileFormat(format, '')
}

type Json = (told: Told) => unknown

/** A JSON object whose texts are formats; a text of one operator alone keeps its type, and null where it has nothing to tell. */
export function compileJson(value: unknown): Json {
  if (typeof value === 'string') {
    const all = parts(value)
    const [only] = all
    if (all.length === 1 && typeof only === 'function') return (told) => only(told) ?? null
    return compileFormat(value)
  }
  if (Array.isArray(value)) {
    const items = value.map(compileJson)
    return (told) => items.map((item) => item(told))
  }
  if (value !== null && typeof value === 'object') {
    const entries = Object.entries(value).map(([name, inner]) => [name, compileJson(inner)] as const)
    return (told) => Object.fromEntries(entries.map(([name, inner]) => [name, inner(told)]))
  }
  return () => value
}

const two = (value: number) => String(value).padStart(2, '0')
const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat']
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

/** strftime in UTC as far as logs use it; empty: ISO 8601 with milliseconds. */
function timeText(date: Date, format: string): string {
  if (format === '') return date.toISOString()
  return format.replace(/%(\d?[a-zA-Z%])/g, (whole, code: string) => {
    switch (code) {
      case 'Y':
        return String(date.getUTCFullYear())
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
      case 'T':
        return date.toISOString().slice(11, 19)
      case 'F':
        return date.toISOString().slice(0, 10)
      case 'b':
        return MONTHS[date.getUTCMonth()] as string
      case 'a':
        return DAYS[date.getUTCDay()] as string
      case 'z':
        return '+0000'
      case 'Z':
        return 'UTC'
      case 's':
        return String(Math.floor(date.getTime() / 1000))
      case '3f':
        return String(date.getUTCMilliseconds()).padStart(3, '0')
      case 'f':
        return `${String(date.getUTCMilliseconds()).padStart(3, '0')}000000`
      default:
        return whole
    }
  })
}

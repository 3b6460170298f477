import { availableParallelism } from 'node:os'
import { DatabaseError, type PoolConfig } from 'pg'
import { messageOf } from '../../errors.ts'
import { MetadataError, type MetadataField, type MetadataValues } from '../metadata.ts'
import { NoRoomError } from '../no-room.ts'
import { tlsAdvice } from '../tls-advice.ts'
import { type Login, loginFields, readLogin } from './login.ts'

/** The settings by which every PostgreSQL component says where its server is. */
export const connectionFields: readonly MetadataField[] = [
  {
    name: 'connectionString',
    aliases: ['url'],
    kind: 'string',
    sensitive: true,
    description: 'postgres:// URL or key=value text; the fields below override its parts.',
  },
  { name: 'host', kind: 'string', description: 'Server.' },
  { name: 'hostaddr', kind: 'string', description: 'Address of the server, instead of its name.' },
  { name: 'port', kind: 'int', min: 1, max: 65535, description: 'Port.' },
  { name: 'database', kind: 'string', description: 'Database.' },
  { name: 'user', kind: 'string', description: 'User.' },
  { name: 'password', kind: 'string', sensitive: true, description: 'Password.' },
  { name: 'sslRootCert', kind: 'string', description: 'Path of the certificate that the server must be signed by.' },
  { name: 'maxConns', kind: 'int', default: '0', description: 'Most connections; up to 1: the number of processors, at least 4.' },
  { name: 'connectionMaxIdleTime', kind: 'duration', default: '30m', description: 'How long an idle connection is kept.' },
  {
    name: 'queryExecMode',
    kind: 'enum',
    values: ['cache_statement', 'cache_describe', 'describe_exec', 'exec', 'simple_protocol'],
    description: 'Only cache_statement, the default, keeps prepared statements; choose another behind a pooler that shares connections.',
  },
  {
    name: 'timeout',
    aliases: ['timeoutInSeconds'],
    kind: 'duration',
    default: '20s',
    description: 'Longest time for one database operation; at least 1s.',
  },
  ...loginFields,
]

export interface PostgresConnection {
  pool: PoolConfig
  /** For messages: where the server is, without secrets. */
  address: string
  /** Whether statements may be kept prepared under a name. */
  prepare: boolean
  /** In place of a password. */
  login: Login | undefined
}

/** What a pool needs, from the parsed connectionFields and the properties that they were read from; throws MetadataError. */
export function readConnection(values: MetadataValues, properties: Readonly<Record<string, string>>): PostgresConnection {
  const timeout = values.timeout as number
  if (timeout < 1000) throw new MetadataError('metadata field timeout: must be at least 1s')
  const given = values.connectionString as string | undefined
  const url = toUrl(given ?? '')
  if (!given && !values.host && !values.hostaddr)
    throw new MetadataError('missing required metadata field connectionString: a postgres:// URL, or give host, user and database')
  if (values.host ?? values.hostaddr) url.hostname = String(values.hostaddr ?? values.host)
  if (values.port) url.port = String(values.port)
  if (values.user) url.username = encodeURIComponent(String(values.user))
  if (values.password) url.password = encodeURIComponent(String(values.password))
  if (values.database) url.pathname = `/${encodeURIComponent(String(values.database))}`
  if (values.sslRootCert) url.searchParams.set('sslrootcert', String(values.sslRootCert))
  // libpq's meaning of sslmode (require encrypts, verify-full verifies), which is what these texts are written for.
  if (url.searchParams.has('sslmode')) url.searchParams.set('uselibpqcompat', 'true')
  const user = decodeURIComponent(url.username)
  const endpoint = `${url.hostname || 'localhost'}:${url.port || 5432}`
  const login = readLogin(values, properties, { endpoint, user })
  if (login) url.password = ''
  return {
    pool: {
      connectionString: url.href,
      max: (values.maxConns as number) > 1 ? (values.maxConns as number) : Math.max(4, availableParallelism()),
      idleTimeoutMillis: Math.max(0, values.connectionMaxIdleTime as number),
      connectionTimeoutMillis: timeout,
      query_timeout: timeout,
      allowExitOnIdle: true,
    },
    address: `${endpoint}${url.pathname}${user ? ` as user ${user}` : ''}`,
    prepare: values.queryExecMode === undefined || values.queryExecMode === 'cache_statement',
    login,
  }
}

/** The server did not answer: nothing is known of what it did, and the connection is of no more use. */
export class PostgresUnreachable extends Error {
  override readonly name = 'PostgresUnreachable'
}

const TLS_FIELDS = {
  address: 'connectionString',
  on: 'write sslmode=disable into connectionString',
  authority: 'sslRootCert',
  client: 'sslcert and sslkey in connectionString',
}

/** disk_full, out_of_memory, configuration_limit_exceeded: the server is there, and the connection as good as it was. */
const FULL = /^53[124]00$/

/** SQLSTATE classes that are no answer to the statement: connection, login, server going down or full. */
const NO_ANSWER = /^(08|28|57P|53)/

/**
 * What an operation is told when the server did not answer it: who asked whom, why not, and what to do; any other error as it is.
 * @param owner e.g. `state store orders`. Node reports one error for each address that it tried: they become one line.
 */
export function connectionError(owner: string, address: string, error: unknown): unknown {
  if (error instanceof PostgresUnreachable) return error
  const code = error instanceof DatabaseError ? (error.code ?? '') : undefined
  if (code !== undefined && !NO_ANSWER.test(code)) return error
  if (code !== undefined && FULL.test(code)) {
    const told = messageOf(error)
    const next = code === '53100' ? "free space on the server's disk" : 'give the server more memory, or raise the limit that it names'
    return new NoRoomError(`${owner}: PostgreSQL at ${address} has no room: ${told} (${next}; it is used again at once)`, { cause: error })
  }
  const tls = tlsAdvice(error, TLS_FIELDS)
  const reason = tls
    ? tls.reason
    : error instanceof AggregateError
      ? error.errors.map((one: Error) => one.message).join('; ')
      : error instanceof Error
        ? error.message
        : String(error)
  const next = code?.startsWith('28')
    ? 'correct user and password of the component'
    : tls
      ? `${tls.next}; the next operation connects again`
      : 'start the server or correct its address; the next operation connects again'
  return new PostgresUnreachable(`${owner}: cannot reach PostgreSQL at ${address}: ${reason} (${next})`, { cause: error })
}

/** A URL of a URL or of libpq's `host=… user=…` text. */
function toUrl(text: string): URL {
  if (/^postgres(ql)?:\/\//.test(text)) {
    try {
      return new URL(text)
    } catch {
      throw new MetadataError('metadata field connectionString: the given value is not a postgres:// URL')
    }
  }
  const url = new URL('postgres://localhost/')
  let rest = text.trim()
  while (rest) {
    const match = /^(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|(\S*))\s*/.exec(rest)
    if (!match) throw new MetadataError('metadata field connectionString: the given value is neither a postgres:// URL nor key=value text')
    rest = rest.slice(match[0].length)
    const name = match[1] as string
    const value = match[2] === undefined ? (match[3] as string) : match[2].replace(/\\(.)/g, '$1')
    if (name === 'host' && value.startsWith('/')) url.searchParams.set('host', value)
    else if (name === 'host' || name === 'hostaddr') url.hostname = value
    else if (name === 'port') url.port = value
    else if (name === 'user') url.username = encodeURIComponent(value)
    else if (name === 'password') url.password = encodeURIComponent(value)
    else if (name === 'dbname' || name === 'database') url.pathname = `/${encodeURIComponent(value)}`
    else if (/^(sslmode|sslrootcert|sslcert|sslkey|application_name|options)$/.test(name)) url.searchParams.set(name, value)
  }
  return url
}

import { readFileSync } from 'node:fs'
import { MetadataError, parseDuration } from '../metadata.ts'

/** `optional`: TLS where the server has it. `strict`: TLS before all else (TDS 8). */
export type Encrypt = 'disable' | 'optional' | 'required' | 'strict'

/** Where a SQL Server is and how to speak to it. */
export interface SqlServerAddress {
  host: string
  port: number
  user: string
  password: string
  /** '' when the text names none. */
  database: string
  encrypt: Encrypt
  /** Any certificate will do. */
  trust: boolean
  /** File with the authorities to trust, read anew for each connection: it may be renewed. */
  authorities?: string
  /** The name that the certificate has to be for, if it is not the host's. */
  certificateName?: string
  /** Milliseconds for a connection to come up, where the text says so. */
  connectTimeout?: number
}

const FORM = 'server=host;port=1433;user id=name;password=…;database=name'
const SYNONYMS: Readonly<Record<string, string>> = {
  'data source': 'server',
  address: 'server',
  addr: 'server',
  'network address': 'server',
  user: 'user id',
  uid: 'user id',
  pwd: 'password',
  'initial catalog': 'database',
}
const ENCRYPT: Readonly<Record<string, Encrypt>> = {
  disable: 'disable',
  strict: 'strict',
  ...Object.fromEntries(['mandatory', 'yes', '1', 't', 'true'].map((word) => [word, 'required'])),
  ...Object.fromEntries(['optional', 'no', '0', 'f', 'false'].map((word) => [word, 'optional'])),
}
const TRUE = /^(1|t|true)$/i
const FALSE = /^(0|f|false)$/i

/**
 * Reads the text by which Go's driver, and so Dapr's YAML, names a server: `name=value;…` or `sqlserver://user:password@host:port?name=value`.
 * Throws MetadataError, never showing the text: it holds the password.
 */
export function readConnectionString(text: string): SqlServerAddress {
  const refuse = (what: string): never => {
    throw new MetadataError(`metadata field connectionString: ${what}; expected e.g. ${FORM}`)
  }
  const values = text.startsWith('sqlserver://') ? ofUrl(text, refuse) : ofPairs(text.replace(/^odbc:/, ''), refuse)
  const server = /^(?:tcp:)?([^\\,]*)(?:\\([^,]*))?(?:,(\d+))?$/.exec(values.get('server') ?? '')
  if (!server) return refuse('the given server is no host, or host,port')
  const port = Number(server[3] ?? values.get('port') ?? 1433)
  if (!(port >= 1 && port <= 65535)) return refuse('the given port is none')
  if (server[2] && !server[3] && !values.has('port'))
    return refuse('an instance is named without its port, which is found by a service that is not asked here: add port=…')
  const host = ['', '.', '(local)'].includes(server[1]?.toLowerCase() as string) ? 'localhost' : (server[1] as string)
  const word = values.get('encrypt')?.toLowerCase()
  const encrypt = word === undefined ? 'optional' : ENCRYPT[word]
  if (!encrypt) return refuse(`encrypt=${word} is not one of true, false, disable, strict`)
  const trust = values.get('trustservercertificate')
  if (trust !== undefined && !TRUE.test(trust) && !FALSE.test(trust)) return refuse(`trustservercertificate=${trust} is not true or false`)
  const seconds = values.get('dial timeout')
  const connectTimeout = seconds === undefined ? undefined : parseDuration(`${seconds}s`, 0)
  if (seconds !== undefined && connectTimeout === undefined) return refuse(`dial timeout=${seconds} is no number of seconds`)
  const authorities = values.get('certificate')
  if (authorities) readCertificates(authorities)
  const certificateName = values.get('hostnameincertificate')
  return {
    host,
    port,
    user: values.get('user id') ?? '',
    password: values.get('password') ?? '',
    database: values.get('database') ?? '',
    encrypt,
    // As Go's driver: who says nothing of encryption takes any certificate.
    trust: encrypt !== 'strict' && (trust === undefined ? word === undefined : TRUE.test(trust)),
    ...(authorities ? { authorities } : {}),
    ...(certificateName ? { certificateName } : {}),
    ...(connectTimeout ? { connectTimeout } : {}),
  }
}

function ofUrl(text: string, refuse: (what: string) => never): Map<string, string> {
  let url: URL
  try {
    url = new URL(text.replace(/^sqlserver:/, 'http:'))
  } catch {
    return refuse('the given value is no URL')
  }
  const instance = decodeURIComponent(url.pathname.slice(1))
  const values = new Map([['server', url.hostname.replace(/^\[|\]$/g, '') + (instance ? `\\${instance}` : '')]])
  // The scheme of which it was read has a port of its own.
  const port = /^[^/?]*:(\d+)(?:[/?]|$)/.exec(text.replace(/^sqlserver:\/\/(?:[^/?]*@)?/, ''))?.[1]
  if (port) values.set('port', port)
  if (url.username) values.set('user id', decodeURIComponent(url.username))
  if (url.password) values.set('password', decodeURIComponent(url.password))
  for (const [name, value] of url.searchParams) values.set(name.toLowerCase(), value)
  return values
}

function ofPairs(text: string, refuse: (what: string) => never): Map<string, string> {
  const values = new Map<string, string>()
  // A value in braces may hold semicolons.
  for (const [, name = '', braced, plain = ''] of text.matchAll(/([^;=]+)=(?:\s*\{((?:[^}]|\}\})*)\}\s*(?=;|$)|([^;]*))/g)) {
    const word = name.trim().toLowerCase()
    values.set(SYNONYMS[word] ?? word, braced === undefined ? plain.trim() : braced.replaceAll('}}', '}'))
  }
  if (!values.has('server')) return refuse('the given value names no server')
  return values
}

/** Throws MetadataError. */
export function readCertificates(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new MetadataError(`connectionString, certificate: cannot read ${path}: ${(error as NodeJS.ErrnoException).code ?? 'unreadable'}`)
  }
}

import { readFileSync } from 'node:fs'
import type { ConnectionOptions } from 'node:tls'
import { MetadataError, parseDuration } from '../metadata.ts'

/** Where a MySQL or MariaDB server is and how to speak to it. */
export interface MysqlAddress {
  host: string
  port: number
  /** Path of a Unix socket, instead of host and port. */
  socketPath?: string
  user: string
  password: string
  /** '' when the text names none. */
  database: string
  tls?: ConnectionOptions & { verifyIdentity?: boolean }
  /** File with the authorities to trust, read anew for each connection: it may be renewed. */
  authorities?: string
  /** `tls=preferred`: cleartext will do when the server has no TLS. */
  tlsOptional?: boolean
  /** Milliseconds for a connection to come up, where the text says so. */
  connectTimeout?: number
}

const FORM = 'user:password@tcp(host:3306)/?allowNativePasswords=true'

/**
 * Reads the text by which Go's driver, and so Dapr's YAML, names a server: `[user[:password]@][tcp|unix[(address)]]/[database][?name=value…]`.
 * Of the parameters, `tls` (true, false, skip-verify, preferred, custom) and `timeout` are read; the others are Go's own business.
 * @param pemPath File with the authorities of `tls=custom`. Throws MetadataError, never showing the text: it holds the password.
 */
export function readDsn(field: string, text: string, pemPath?: string): MysqlAddress {
  const refuse = (what: string): never => {
    throw new MetadataError(`metadata field ${field}: ${what}; expected e.g. ${FORM}`)
  }
  const slash = text.lastIndexOf('/')
  if (slash < 0) return refuse('the given value has no / before the database')
  const [database = '', query = ''] = text.slice(slash + 1).split('?', 2)
  const before = text.slice(0, slash)
  const at = before.lastIndexOf('@')
  const login = at < 0 ? '' : before.slice(0, at)
  const colon = login.indexOf(':')
  const net = /^(?:(tcp|unix)?(?:\(([^)]*)\))?)?$/.exec(before.slice(at + 1))
  if (!net) return refuse('the given value names no tcp(host:port) or unix(/path)')
  const address: MysqlAddress = {
    host: '127.0.0.1',
    port: 3306,
    user: colon < 0 ? login : login.slice(0, colon),
    password: colon < 0 ? '' : login.slice(colon + 1),
    database: decodeURIComponent(database),
  }
  const place = net[2] ?? ''
  if (net[1] === 'unix') address.socketPath = place || '/tmp/mysql.sock'
  else if (place) {
    const parts = /^(?:\[([^\]]+)\]|([^:]*))(?::(\d+))?$/.exec(place)
    if (!parts) return refuse(`"${place}" is not host:port`)
    address.host = parts[1] || parts[2] || '127.0.0.1'
    address.port = Number(parts[3] ?? 3306)
  }
  const parameters = new URLSearchParams(query)
  const timeout = parameters.get('timeout')
  if (timeout) {
    const wait = parseDuration(timeout, 0)
    if (!wait || wait < 0) return refuse(`timeout=${timeout} is no duration such as 5s`)
    address.connectTimeout = wait
  }
  return withTls(address, parameters.get('tls') ?? 'false', pemPath, refuse)
}

function withTls(address: MysqlAddress, mode: string, pemPath: string | undefined, refuse: (what: string) => never): MysqlAddress {
  const minVersion = 'TLSv1.2'
  // Or the library would take any name that its authority has signed.
  const verifyIdentity = true
  switch (mode.toLowerCase()) {
    case 'false':
    case '0':
      return address
    case 'true':
    case '1':
      return { ...address, tls: { minVersion, verifyIdentity } }
    case 'skip-verify':
      return { ...address, tls: { minVersion, rejectUnauthorized: false } }
    case 'preferred':
      return { ...address, tls: { minVersion, rejectUnauthorized: false }, tlsOptional: true }
    case 'custom': {
      if (!pemPath) throw new MetadataError('missing metadata field pemPath: tls=custom needs the file with the authorities to trust')
      readPem(pemPath)
      return { ...address, tls: { minVersion, verifyIdentity }, authorities: pemPath }
    }
    default:
      return refuse(`tls=${mode} is not one of true, false, skip-verify, preferred, custom`)
  }
}

/** Throws MetadataError. */
export function readPem(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new MetadataError(`metadata field pemPath: cannot read ${path}: ${(error as NodeJS.ErrnoException).code ?? 'unreadable'}`)
  }
}

/** For messages: user and place, never the password. */
export function describeAddress(address: MysqlAddress): string {
  const place = address.socketPath ?? `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`
  return `${place} as user ${address.user || '(none)'}`
}

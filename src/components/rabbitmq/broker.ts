import type { ConnectionOptions } from 'node:tls'
import { MetadataError, type MetadataField } from '../metadata.ts'

/** The TLS settings of Dapr's RabbitMQ components. */
export const tlsFields: readonly MetadataField[] = [
  { name: 'caCert', kind: 'string', description: "Certificate authority that signed the server's certificate, PEM." },
  { name: 'clientCert', kind: 'string', description: 'Client certificate, PEM.' },
  { name: 'clientKey', kind: 'string', sensitive: true, description: 'Key of the client certificate, PEM.' },
]

/** Where a RabbitMQ server is and how to log in. */
export interface Broker {
  protocol: 'amqp' | 'amqps'
  hostname: string
  port: number
  username: string
  password: string
  vhost: string
  /** Seconds between heartbeats that the URL asks for. */
  heartbeat: number | undefined
  tls: ConnectionOptions
  /** SASL EXTERNAL: the client certificate says who we are. */
  external: boolean
  /** For messages: host and port, no secrets. */
  address: string
}

/**
 * Reads `amqp://user:password@host:port/vhost?heartbeat=10` as RabbitMQ's clients do: guest, port 5672 (5671 with TLS)
 * and vhost `/` where nothing is said. Throws MetadataError, which never shows the URL: it may hold a password.
 */
export function readBroker(field: string, text: string, tls: Readonly<Record<string, unknown>>, external: boolean): Broker {
  const refuse = (why: string) => new MetadataError(`metadata field ${field}: ${why}; expected amqp://user:password@host:port/vhost`)
  let url: URL
  try {
    url = new URL(text.trim())
  } catch {
    throw refuse('the given value is not a URL')
  }
  const protocol = url.protocol.slice(0, -1)
  if (protocol !== 'amqp' && protocol !== 'amqps') throw refuse(`the protocol is "${protocol}" and has to be amqp or amqps`)
  const named = url.username !== '' || url.password !== ''
  const decode = (part: string) => {
    try {
      return decodeURIComponent(part)
    } catch {
      throw refuse('a % in it does not start an escape')
    }
  }
  const hostname = url.hostname.replace(/^\[|\]$/g, '') || 'localhost'
  const port = Number(url.port) || (protocol === 'amqp' ? 5672 : 5671)
  return {
    protocol,
    hostname,
    port,
    username: named ? decode(url.username) : 'guest',
    password: named ? decode(url.password) : 'guest',
    vhost: decode(url.pathname.slice(1)) || '/',
    heartbeat: /^\d+$/.test(url.searchParams.get('heartbeat') ?? '') ? Number(url.searchParams.get('heartbeat')) : undefined,
    tls: {
      ...(tls.caCert ? { ca: pem('caCert', tls.caCert) } : {}),
      ...(tls.clientCert && tls.clientKey ? { cert: pem('clientCert', tls.clientCert), key: pem('clientKey', tls.clientKey) } : {}),
    },
    external,
    address: `${hostname.includes(':') ? `[${hostname}]` : hostname}:${port}`,
  }
}

function pem(field: string, value: unknown): string {
  const text = String(value)
  if (!text.includes('-----BEGIN ')) throw new MetadataError(`metadata field ${field}: the given value is not PEM`)
  return text
}

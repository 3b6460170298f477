import { jwtAuthenticator, type NodeConnectionOptions, tokenAuthenticator, usernamePasswordAuthenticator } from '@nats-io/transport-node'
import { MetadataError } from '../metadata.ts'

export interface Credentials {
  jwt?: string | undefined
  seedKey?: string | undefined
  token?: string | undefined
  /** Paths of PEM files. */
  clientCert?: string | undefined
  clientKey?: string | undefined
}

/** What the library needs from a comma-separated list of URLs (`nats://user:password@host:port`) and credentials; throws MetadataError. */
export function readOptions(urls: string, credentials: Credentials, name: string): { options: NodeConnectionOptions; address: string } {
  const { jwt, seedKey, token, clientCert, clientKey } = credentials
  if (jwt && !seedKey) throw new MetadataError('missing seed key')
  if (!jwt && seedKey) throw new MetadataError('missing jwt')
  if (clientCert && !clientKey) throw new MetadataError('missing tls client key')
  if (!clientCert && clientKey) throw new MetadataError('missing tls client cert')
  const servers: string[] = []
  const options: NodeConnectionOptions = { name }
  for (const text of urls.split(',').map((one) => one.trim())) {
    if (text === '') continue
    const url = parse(text)
    servers.push(`${url.hostname}:${url.port || 4222}`)
    if (url.protocol === 'tls:') options.tls = {}
    if (url.username !== '')
      options.authenticator =
        url.password === ''
          ? tokenAuthenticator(decodeURIComponent(url.username))
          : usernamePasswordAuthenticator(decodeURIComponent(url.username), decodeURIComponent(url.password))
  }
  if (servers.length === 0) throw new MetadataError('missing nats URL')
  if (jwt && seedKey) options.authenticator = jwtAuthenticator(jwt, new TextEncoder().encode(seedKey))
  else if (clientCert && clientKey) options.tls = { certFile: clientCert, keyFile: clientKey }
  else if (token) options.authenticator = tokenAuthenticator(token)
  return { options: { ...options, servers }, address: servers.join(',') }
}

function parse(text: string): URL {
  try {
    return new URL(text.includes('://') ? text : `nats://${text}`)
  } catch {
    // The text may hold a password.
    throw new MetadataError('metadata field natsURL: one of the given values is not a URL; expected nats://host:port')
  }
}

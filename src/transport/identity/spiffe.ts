import type { X509Certificate } from 'node:crypto'

/** Who a certificate says its holder is: `spiffe://<trust domain>/ns/<namespace>/<app id>`. */
export interface SpiffeId {
  /** The whole id. */
  readonly uri: string
  readonly trustDomain: string
  /** e.g. `/ns/default/orders`. */
  readonly path: string
  readonly namespace: string
  readonly appId: string
}

/** The form the SPIFFE standard allows: a lower case trust domain and path segments of plain characters. */
const ID = /^spiffe:\/\/([a-z0-9._-]+)((?:\/[A-Za-z0-9._-]+)+)$/

/** Reads an id of Dapr's form; undefined for anything else. Further segments are allowed, as daprd does. */
export function parseSpiffeId(uri: string): SpiffeId | undefined {
  const [, trustDomain, path] = ID.exec(uri) ?? []
  if (trustDomain === undefined || path === undefined) return undefined
  const segments = path.slice(1).split('/')
  const [ns, namespace, appId] = segments
  if (ns !== 'ns' || !namespace || !appId || segments.some((segment) => segment === '.' || segment === '..')) return undefined
  return { uri, trustDomain, path, namespace, appId }
}

/** An entry of node's subjectAltName text; values that could be mistaken for several entries come quoted. */
const ENTRY = /(?:^|, )([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^,]*)/g

/** The id in a certificate's only URI name; undefined when there is none, or more than one. */
export function spiffeIdOf(certificate: Pick<X509Certificate, 'subjectAltName'>): SpiffeId | undefined {
  const uris = [...(certificate.subjectAltName ?? '').matchAll(ENTRY)].filter(([, type]) => type === 'URI')
  return uris.length === 1 ? parseSpiffeId(uris[0]?.[2] as string) : undefined
}

import { createHmac } from 'node:crypto'

/** The key of a storage account. */
export interface StorageKey {
  account: string
  /** Base64. */
  key: string
}

export interface StorageRequest {
  method: string
  /** Percent-encoded, as it goes on the wire, without the query. */
  path: string
  query: readonly (readonly [name: string, value: string])[]
  /** Names in lower case. */
  headers: Readonly<Record<string, string>>
}

/** Headers that are signed by value alone, in this order. */
const PLAIN = [
  'content-encoding',
  'content-language',
  'content-length',
  'content-md5',
  'content-type',
  'date',
  'if-modified-since',
  'if-match',
  'if-none-match',
  'if-unmodified-since',
  'range',
]

/**
 * The Authorization header of a request with an account's key.
 * https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
 */
export function sharedKey({ method, path, query, headers }: StorageRequest, { account, key }: StorageKey): string {
  const plain = PLAIN.map((name) => (name === 'content-length' && headers[name] === '0' ? '' : (headers[name] ?? '')))
  const own = Object.entries(headers)
    .filter(([name]) => name.startsWith('x-ms-'))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}:${value.trim()}`)
  const asked = [...query].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, value]) => `\n${name.toLowerCase()}:${value}`)
  const text = [method, ...plain, ...own, `/${account}${path}${asked.join('')}`].join('\n')
  return `SharedKey ${account}:${hmac(text, key)}`
}

/** The same for tables, in its shorter form: the date and what is asked for. */
export function sharedKeyLite({ path, headers }: StorageRequest, { account, key }: StorageKey): string {
  return `SharedKeyLite ${account}:${hmac(`${headers['x-ms-date']}\n/${account}${path}`, key)}`
}

/** Version of the API, in requests and in what is shared. */
export const VERSION = '2021-12-02'

/**
 * The query of a URL by which anyone can read a blob for a while.
 * https://learn.microsoft.com/rest/api/storageservices/create-service-sas
 */
export function readableBy(blob: { container: string; name: string }, expires: Date, { account, key }: StorageKey): string {
  const until = `${expires.toISOString().slice(0, 19)}Z`
  const resource = `/blob/${account}/${blob.container}/${blob.name}`
  // Permissions, start, expiry, resource, identifier, IP, protocol, version, kind, snapshot, encryption scope, five headers.
  const text = ['r', '', until, resource, '', '', '', VERSION, 'b', '', '', '', '', '', '', ''].join('\n')
  const query = { sv: VERSION, se: until, sr: 'b', sp: 'r', sig: hmac(text, key) }
  return new URLSearchParams(query).toString()
}

function hmac(text: string, key: string): string {
  return createHmac('sha256', Buffer.from(key, 'base64')).update(text).digest('base64')
}

import { createHash, createHmac } from 'node:crypto'

/** A key to an AWS account; `expires` in milliseconds of the epoch, absent: never. */
export interface AwsKey {
  id: string
  secret: string
  token?: string | undefined
  expires?: number | undefined
}

/** What a signature covers. The path is percent-encoded as it goes on the wire. */
export interface Signable {
  method: string
  host: string
  path: string
  query: readonly (readonly [name: string, value: string])[]
  /** Names in lower case. */
  headers: Readonly<Record<string, string>>
}

export interface Scope {
  region: string
  /** The service's name in signatures, e.g. `s3`. */
  service: string
  /** Milliseconds of the epoch. */
  now: number
}

const ALGORITHM = 'AWS4-HMAC-SHA256'
const UNSIGNED = 'UNSIGNED-PAYLOAD'

/** RFC 3986: everything but letters, digits and `-._~`; `keep` stays too. */
export function percentEncoded(text: string, keep = ''): string {
  const encoded = encodeURIComponent(text).replace(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`)
  return keep === '/' ? encoded.replaceAll('%2F', '/') : encoded
}

/** A query as it goes on the wire and into signatures: sorted, percent-encoded. */
export function canonicalQuery(query: Signable['query']): string {
  return query
    .map(([name, value]) => [percentEncoded(name), percentEncoded(value)] as const)
    .sort(([a, x], [b, y]) => (a < b ? -1 : a > b ? 1 : x < y ? -1 : x > y ? 1 : 0))
    .map(([name, value]) => `${name}=${value}`)
    .join('&')
}

/**
 * Signature version 4 in headers: all that a request needs beside its own, `host` included.
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 */
export function signedHeaders(request: Signable, body: Buffer | string, key: AwsKey, scope: Scope): Record<string, string> {
  const time = stamp(scope.now)
  const hash = sha256(body)
  const headers: Record<string, string> = {
    ...request.headers,
    host: request.host,
    'x-amz-date': time,
    ...(scope.service === 's3' && { 'x-amz-content-sha256': hash }),
    ...(key.token && { 'x-amz-security-token': key.token }),
  }
  const names = Object.keys(headers).sort()
  const signature = signatureOf({ ...request, headers }, names, hash, key, scope, time)
  headers.authorization = `${ALGORITHM} Credential=${key.id}/${scopeText(scope, time)}, SignedHeaders=${names.join(';')}, Signature=${signature}`
  return headers
}

/** The query of a URL that anyone may use for so many seconds. `hash`: of the body, hex; S3 does without. */
export function presignedQuery(request: Signable, seconds: number, key: AwsKey, scope: Scope, hash = UNSIGNED): string {
  const time = stamp(scope.now)
  const query: [string, string][] = [
    ...request.query.map(([name, value]): [string, string] => [name, value]),
    ['X-Amz-Algorithm', ALGORITHM],
    ['X-Amz-Credential', `${key.id}/${scopeText(scope, time)}`],
    ['X-Amz-Date', time],
    ['X-Amz-Expires', String(seconds)],
    ['X-Amz-SignedHeaders', 'host'],
    ...(key.token ? [['X-Amz-Security-Token', key.token] as [string, string]] : []),
  ]
  const signature = signatureOf({ ...request, query, headers: { host: request.host } }, ['host'], hash, key, scope, time)
  return `${canonicalQuery(query)}&X-Amz-Signature=${signature}`
}

function signatureOf(request: Signable, names: readonly string[], hash: string, key: AwsKey, scope: Scope, time: string): string {
  const { method, path, query, headers } = request
  const lines = names.map((name) => `${name}:${(headers[name] ?? '').trim().replace(/ +/g, ' ')}\n`).join('')
  const canonical = [method, path, canonicalQuery(query), lines, names.join(';'), hash].join('\n')
  const text = [ALGORITHM, time, scopeText(scope, time), sha256(canonical)].join('\n')
  let derived: Buffer = Buffer.from(`AWS4${key.secret}`)
  for (const part of [time.slice(0, 8), scope.region, scope.service, 'aws4_request']) derived = hmac(derived, part)
  return hmac(derived, text).toString('hex')
}

function scopeText({ region, service }: Scope, time: string): string {
  return `${time.slice(0, 8)}/${region}/${service}/aws4_request`
}

function stamp(now: number): string {
  return new Date(now).toISOString().replace(/[-:]|\.\d+/g, '')
}

function sha256(data: Buffer | string): string {
  return createHash('sha256').update(data).digest('hex')
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}

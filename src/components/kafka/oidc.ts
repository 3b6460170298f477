import { type KeyObject, randomUUID, sign } from 'node:crypto'
import { request as requestHttps } from 'node:https'
import { request as requestHttp } from '../../transport/node-http.ts'

export interface TokenRequest {
  endpoint: string
  clientId: string
  /** By which the client proves who it is: a secret, or what it signs with its key (RFC 7523). */
  proof: { secret: string } | { key: KeyObject; kid: string | undefined; audience: string | undefined; resource: string | undefined }
  scopes: readonly string[]
  ca: string | undefined
  skipVerify: boolean
}

const LIMIT = 10_000
const MARGIN = 10_000

const cached = new WeakMap<TokenRequest, { token: string; until: number }>()

/** An access token by client credentials (RFC 6749, 4.4); the same one until shortly before it expires. */
export async function token(request: TokenRequest): Promise<string> {
  const known = cached.get(request)
  if (known && Date.now() < known.until) return known.token
  const { form, authorization } = proven(request)
  const body = new URLSearchParams({ grant_type: 'client_credentials', ...form, scope: request.scopes.join(' ') }).toString()
  const { status, text } = await post(request, body, authorization)
  if (status !== 200)
    throw new Error(
      `no token from ${request.endpoint}: it answers ${status}; check oidcClientID, ${'secret' in request.proof ? 'oidcClientSecret' : 'oidcClientAssertionKey, oidcKid, oidcAudience'} and oidcScopes`,
    )
  let answer: { access_token?: unknown; expires_in?: unknown } = {}
  try {
    answer = JSON.parse(text) as typeof answer
  } catch {
    // Said below.
  }
  if (typeof answer.access_token !== 'string') throw new Error(`no token from ${request.endpoint}: its answer has no access_token`)
  const lifetime = Number(answer.expires_in ?? 0) * 1000
  cached.set(request, { token: answer.access_token, until: Date.now() + lifetime - MARGIN })
  return answer.access_token
}

/** How long what we sign is good, seconds. */
const ASSERTION_LIFETIME = 60

function proven({ endpoint, clientId, proof }: TokenRequest): { form: Record<string, string>; authorization: string | undefined } {
  if ('secret' in proof) {
    const encoded = [clientId, proof.secret].map(encodeURIComponent).join(':')
    return { form: {}, authorization: `Basic ${Buffer.from(encoded).toString('base64')}` }
  }
  const { key, kid, audience, resource } = proof
  const now = Math.floor(Date.now() / 1000)
  const claims = {
    iss: clientId,
    sub: clientId,
    aud: audience ?? endpoint,
    iat: now,
    nbf: now,
    exp: now + ASSERTION_LIFETIME,
    jti: randomUUID(),
  }
  const text = [{ alg: 'RS256', typ: 'JWT', kid }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
  return {
    form: {
      client_id: clientId,
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: `${text}.${sign('sha256', Buffer.from(text), key).toString('base64url')}`,
      ...(audience && { audience }),
      ...(resource && { resource }),
    },
    authorization: undefined,
  }
}

function post(request: TokenRequest, body: string, authorization: string | undefined): Promise<{ status: number; text: string }> {
  const url = new URL(request.endpoint)
  const send = url.protocol === 'http:' ? requestHttp : requestHttps
  return new Promise((resolve, reject) => {
    const tls = { rejectUnauthorized: !request.skipVerify, ...(request.ca ? { ca: request.ca } : {}) }
    const headers = {
      ...(authorization && { authorization }),
      'content-type': 'application/x-www-form-urlencoded',
      'content-length': Buffer.byteLength(body),
    }
    const call = send(url, { method: 'POST', headers, agent: false, timeout: LIMIT, ...tls }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }))
    })
    call.on('timeout', () => call.destroy(new Error(`${request.endpoint} does not answer within ${LIMIT} ms`)))
    call.on('error', (error) => reject(new Error(`no token from ${request.endpoint}: ${error.message}`)))
    call.end(body)
  })
}

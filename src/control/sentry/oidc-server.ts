import { readFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer as createTls } from 'node:tls'
import { createServer } from '../../transport/node-http.ts'

export interface OidcServerOptions {
  host: string
  port: number
  /** Paths of a certificate and its key; undefined: without TLS. */
  tls: { certificate: string; key: string } | undefined
  /** JSON of the published keys, and how they sign. */
  keys(): { keySet: string; algorithm: string }
  /** Empty: as whom the caller knows us. */
  issuer: string
  /** Empty: here. */
  keySetUri: string
  prefix: string
  /** Who may be asked for; none: anybody. */
  hosts: readonly string[]
}

/** Serves what others check our tokens with: the keys (RFC 7517) and the OpenID configuration that leads to them. Resolves with its port. */
export async function openOidcServer(options: OidcServerOptions): Promise<AsyncDisposable & { readonly port: number }> {
  const prefix = options.prefix.replace(/\/+$/, '')
  const http = createServer({ headersTimeout: 10_000, requestTimeout: 10_000 }, (request, response) => {
    const path = (request.url ?? '').split('?', 1)[0]
    if (path === `${prefix}/jwks.json`) answer(request, response, options, () => options.keys().keySet)
    else if (path === `${prefix}/.well-known/openid-configuration`)
      answer(request, response, options, (host) => JSON.stringify(discovery(options, prefix, host)))
    else response.writeHead(404, { 'content-type': 'text/plain' }).end('404 page not found\n')
  })
  const pair = options.tls && { cert: await readFile(options.tls.certificate), key: await readFile(options.tls.key) }
  const listener = pair
    ? createTls({ ...pair, minVersion: 'TLSv1.2', ALPNProtocols: ['http/1.1'] }, (socket) => http.emit('connection', socket))
    : http
  if (pair) listener.on('tlsClientError', () => {})
  await new Promise<void>((resolve, reject) => {
    listener.once('error', reject)
    listener.listen(options.port, options.host === '' ? undefined : options.host, resolve)
  })
  const address = listener.address()
  return {
    port: address !== null && typeof address === 'object' ? address.port : 0,
    async [Symbol.asyncDispose]() {
      const closed = new Promise<void>((resolve) => listener.close(() => resolve()))
      http.closeAllConnections()
      await closed
    },
  }
}

function answer(request: IncomingMessage, response: ServerResponse, options: OidcServerOptions, text: (host: string) => string): void {
  const refuse = (status: number, message: string) => void response.writeHead(status, { 'content-type': 'text/plain' }).end(`${message}\n`)
  const forwarded = request.headers['x-forwarded-host']
  const own = request.headers.host ?? ''
  const open = options.hosts.length === 0 || options.hosts.includes('*')
  const asked = typeof forwarded === 'string' && forwarded !== '' ? forwarded : own
  if (!open && !options.hosts.includes(asked) && !options.hosts.includes(asked.replace(/:\d+$/, '')))
    return refuse(403, 'Forbidden: unauthorized domain')
  if (request.method !== 'GET') return refuse(405, 'Method not allowed')
  // Whoever writes that header would else name the place where the keys are looked for.
  const body = text(open ? own : asked)
  response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'public, max-age=3600' }).end(body)
}

function discovery({ issuer, keySetUri, tls, keys }: OidcServerOptions, prefix: string, host: string) {
  const base = issuer || `${tls ? 'https' : 'http'}://${host}`
  return {
    issuer: base,
    jwks_uri: keySetUri || new URL(`${prefix}/jwks.json`, base).href,
    response_types_supported: ['id_token'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: [keys().algorithm],
    scopes_supported: ['openid'],
    claims_supported: ['sub', 'iss', 'aud', 'exp', 'iat', 'nbf', 'use'],
  }
}

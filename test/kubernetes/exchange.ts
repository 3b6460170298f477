import { generateKeyPairSync } from 'node:crypto'
import type { Http2ServerRequest } from 'node:http2'
import { issueCertificate } from '../../src/transport/identity/certificate.ts'
import { applyJsonPatch, applyMergePatch } from './patches.ts'
import type { ObjectPath, Resource } from './paths.ts'
import { type ApiObject, StoreError } from './store.ts'

const LARGEST = 8 << 20

export function verbOf(method: string, { name }: ObjectPath, watching: boolean): string {
  if (method === 'GET') return watching ? 'watch' : name === undefined ? 'list' : 'get'
  const verb = { POST: 'create', PUT: 'update', PATCH: 'patch', DELETE: 'delete' }[method]
  if (verb === undefined || (name === undefined && verb !== 'create'))
    throw new StoreError(405, 'MethodNotAllowed', 'the server does not allow this method on the requested resource')
  return verb
}

export function list(url: URL, all: ApiObject[], shown: (object: ApiObject) => unknown, apiVersion: string, { kind }: Resource) {
  const from = Number(url.searchParams.get('continue') ?? 0)
  const limit = Number(url.searchParams.get('limit') ?? 0) || all.length
  const rest = all.length - from - limit
  const metadata = {
    resourceVersion: String(all.reduce((most, { metadata }) => Math.max(most, Number(metadata.resourceVersion)), 1)),
    ...(rest > 0 && { continue: String(from + limit), remainingItemCount: rest }),
  }
  return { apiVersion, kind: `${kind}List`, metadata, items: all.slice(from, from + limit).map(shown) }
}

export function patched(old: ApiObject | undefined, type: string | undefined, body: unknown, path: ObjectPath): ApiObject {
  if (type === 'application/apply-patch+yaml') return (old ? applyMergePatch(old, body) : body) as ApiObject
  if (!old) throw notFound(path)
  if (type === 'application/json-patch+json') return applyJsonPatch(old, body as [])
  return applyMergePatch(old, body) as ApiObject
}

export function notFound({ plural, name }: ObjectPath): StoreError {
  return new StoreError(404, 'NotFound', `${plural} "${name}" not found`)
}

export function warningHeaders(warnings: readonly string[]): Record<string, string[]> {
  return warnings.length === 0 ? {} : { warning: warnings.map((text) => `299 - ${JSON.stringify(text.replace(/[^\x20-\x7e]/g, '?'))}`) }
}

export async function read(request: Http2ServerRequest): Promise<unknown> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > LARGEST) throw new StoreError(413, 'RequestEntityTooLarge', 'the request is too large')
    chunks.push(chunk)
  }
  if (size === 0) return undefined
  try {
    return JSON.parse(Buffer.concat(chunks).toString())
  } catch {
    throw new StoreError(400, 'BadRequest', 'the body is no JSON')
  }
}

export function certificates(host: string): { ca: string; cert: string; key: string } {
  const span = { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 86_400_000) }
  const root = generateKeyPairSync('ed25519')
  const own = generateKeyPairSync('ed25519')
  const issuer = { name: 'api', ...root }
  const ca = issueCertificate({ ...span, publicKey: root.publicKey, subject: 'api', issuer, authority: true })
  const cert = issueCertificate({
    ...span,
    publicKey: own.publicKey,
    subject: '',
    issuer,
    dns: ['localhost', 'kubernetes'],
    addresses: [...new Set(['127.0.0.1', host])],
  })
  return { ca, cert, key: own.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string }
}

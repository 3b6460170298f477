import { createHash, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { type ConnectionOptions, createSecureContext, type PeerCertificate, type TLSSocket, type TlsOptions } from 'node:tls'
import { trustedAuthorities } from '../transport/system-authorities.ts'
import { compileText } from './http/match.ts'
import type { ServerTls } from './model/listener.ts'
import type { CertificateSource, ClientTls, TextSource, Validation } from './model/tls.ts'

/** Reads a text from where it stands. Throws with what is missing. */
export function textOf(source: TextSource): string {
  if ('text' in source) return source.text
  if ('file' in source) return readFileSync(source.file, 'utf8')
  const text = process.env[source.env]
  if (text === undefined) throw new Error(`the environment variable ${source.env} is not set`)
  return text
}

function certificateOf({ chain, key, password }: CertificateSource): { cert: string; key: string; passphrase?: string } {
  return { cert: pemOf(chain), key: pemOf(key), ...(password && { passphrase: textOf(password).trimEnd() }) }
}

/** A file that is being written may be empty, which TLS would take for no certificate at all. */
function pemOf(source: TextSource): string {
  const text = textOf(source)
  if (!text.includes('-----BEGIN ')) throw new Error(`${'file' in source ? source.file : 'the text'} has nothing in PEM`)
  return text
}

/** The files of which TLS is made. */
export function filesOf({
  certificates,
  validation,
}: {
  certificates: readonly CertificateSource[]
  validation: Validation | undefined
}): string[] {
  const sources = [...certificates.flatMap(({ chain, key, password }) => [chain, key, password]), validation?.ca]
  return sources.flatMap((source) => (source && 'file' in source ? [source.file] : []))
}

/** What to do about files that have changed into what cannot be used. */
export const KEPT =
  'what was read before stays in use; put a certificate and its key there, both whole (written beside and renamed), and they are taken within a second'

function authorities(validation: Validation | undefined): string[] | undefined {
  if (!validation) return undefined
  const { ca, systemCa } = validation
  const own = ca && pemOf(ca)
  return [...(own === undefined ? [] : [own]), ...(systemCa ? trustedAuthorities() : [])]
}

/** Why a certificate that leads to a known authority is still not the one that is wanted; undefined: it is. */
export function compileNames(validation: Validation | undefined): (raw: Buffer) => Error | undefined {
  const names = validation?.names.map((match) => ({ kind: match.kind, test: compileText(match) })) ?? []
  const hashes = new Set(validation?.hashes.map((hash) => hash.toLowerCase().replaceAll(':', '')))
  if (names.length === 0 && hashes.size === 0) return () => undefined
  return (raw) => {
    if (hashes.size > 0 && !hashes.has(createHash('sha256').update(raw).digest('hex')))
      return new Error('the certificate is none of those that are allowed')
    if (
      names.length === 0 ||
      parsedNames(raw).some((has) => names.some(({ kind, test }) => (kind ?? has.kind) === has.kind && test(has.name)))
    )
      return undefined
    return new Error('the certificate has none of the names that are allowed')
  }
}

/** Its subject alternative names by kind. */
export function parsedNames(raw: Buffer): { kind: string; name: string }[] {
  const text = new X509Certificate(raw).subjectAltName
  if (!text) return []
  return text.split(', ').map((part) => {
    const colon = part.indexOf(':')
    const value = part.slice(colon + 1)
    return { kind: part.slice(0, colon), name: value.startsWith('"') ? (JSON.parse(value) as string) : value }
  })
}

/** TLS towards endpoints. What is in files is read now; throws when it cannot be, or does not belong together. */
export function clientOptions(tls: ClientTls): ConnectionOptions {
  const own = tls.certificate && certificateOf(tls.certificate)
  const ca = authorities(tls.validation)
  const right = compileNames(tls.validation)
  const checked = (tls.validation !== undefined && !tls.validation.acceptUntrusted && (ca?.length ?? 0) > 0) || tls.checkName
  const options: ConnectionOptions = {
    ...own,
    ...(ca && ca.length > 0 ? { ca } : {}),
    minVersion: tls.versions.min,
    maxVersion: tls.versions.max,
    ...(tls.ciphers.length > 0 ? { ciphers: tls.ciphers.join(':') } : {}),
    rejectUnauthorized: checked,
    ...(tls.sni === '' ? {} : { servername: tls.sni }),
    ...(tls.checkName ? {} : { checkServerIdentity: (_: string, certificate: PeerCertificate) => right(certificate.raw) }),
  }
  createSecureContext(options)
  return options
}

/** TLS towards clients. Reads and throws as {@link clientOptions}. */
export function serverOptions(tls: ServerTls): TlsOptions {
  const own = tls.certificates.map(certificateOf)
  const ca = authorities(tls.validation)
  const options: TlsOptions = {
    cert: own.map(({ cert }) => cert),
    key: own.map(({ key, passphrase }) => ({ pem: key, ...(passphrase !== undefined && { passphrase }) })),
    ...(ca && ca.length > 0 ? { ca } : {}),
    ...(tls.alpn.length > 0 ? { ALPNProtocols: [...tls.alpn] } : {}),
    minVersion: tls.versions.min,
    maxVersion: tls.versions.max,
    ...(tls.ciphers.length > 0 ? { ciphers: tls.ciphers.join(':') } : {}),
    requestCert: tls.requireClientCertificate || tls.validation !== undefined,
    rejectUnauthorized: tls.requireClientCertificate && !tls.validation?.acceptUntrusted,
  }
  createSecureContext(options)
  return options
}

/** What the client of a connection has shown. */
export function peerOf(socket: TLSSocket): {
  verified: boolean
  subject: string | undefined
  uris: string[]
  dns: string[]
  raw: Buffer | undefined
} {
  const certificate = socket.getPeerCertificate()
  const { raw } = certificate ?? {}
  if (!raw) return { verified: false, subject: undefined, uris: [], dns: [], raw: undefined }
  const names = parsedNames(raw)
  return {
    verified: socket.authorized,
    subject: new X509Certificate(raw).subject.split('\n').reverse().join(','),
    uris: names.filter(({ kind }) => kind === 'URI').map(({ name }) => name),
    dns: names.filter(({ kind }) => kind === 'DNS').map(({ name }) => name),
    raw,
  }
}

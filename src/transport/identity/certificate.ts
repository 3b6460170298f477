import { createHash, type KeyObject, randomBytes, sign, type X509Certificate } from 'node:crypto'
import { bits, oid, pem, TAG, tlv, values } from './der.ts'
import { signatureKind } from './signature.ts'

export interface CertificateOptions {
  publicKey: KeyObject
  /** Organisation named as the subject; empty: an empty subject, as leaves have. */
  subject: string
  /** Its name as an organisation, or as it stands in its certificate; `keyId` as its certificate has it, where that is not ours. */
  issuer: { name: string | Buffer; privateKey: KeyObject; publicKey: KeyObject; keyId?: Buffer | undefined }
  notBefore: Date
  notAfter: Date
  /** SPIFFE id of the holder. */
  uri?: string
  /** DNS names of the holder. */
  dns?: string | readonly string[]
  /** IPv4 addresses of the holder. */
  addresses?: readonly string[]
  /** May sign certificates; else it serves both ends of TLS. */
  authority?: boolean
}

const VERSION_3 = tlv(0xa0, tlv(TAG.integer, Buffer.of(2)))
const SUBJECT_KEY_ID = oid('2.5.29.14')
const TRUE = tlv(TAG.boolean, Buffer.of(0xff))
const SERVER_AND_CLIENT = tlv(TAG.sequence, oid('1.3.6.1.5.5.7.3.1'), oid('1.3.6.1.5.5.7.3.2'))

/** An X.509 certificate (RFC 5280) as PEM. */
export function issueCertificate(options: CertificateOptions): string {
  const { publicKey, subject, issuer, notBefore, notAfter, uri, dns = [], addresses = [], authority = false } = options
  const serial = randomBytes(16)
  // Positive, and of full length.
  serial[0] = ((serial[0] as number) & 0x7f) | 0x40
  const extensions = [
    // keyCertSign and cRLSign, or digitalSignature.
    extension('2.5.29.15', true, tlv(TAG.bits, authority ? Buffer.of(1, 0x06) : Buffer.of(7, 0x80))),
    extension('2.5.29.19', true, tlv(TAG.sequence, ...(authority ? [TRUE] : []))),
    extension('2.5.29.35', false, tlv(TAG.sequence, tlv(0x80, issuer.keyId ?? keyId(issuer.publicKey)))),
  ]
  if (authority) extensions.push(extension('2.5.29.14', false, tlv(TAG.octets, keyId(publicKey))))
  else extensions.push(extension('2.5.29.37', false, SERVER_AND_CLIENT))
  // Critical where the subject is empty: then this is the name.
  const names = [
    ...(uri === undefined ? [] : [tlv(0x86, Buffer.from(uri, 'ascii'))]),
    ...[dns].flat().map((each) => tlv(0x82, Buffer.from(each, 'ascii'))),
    ...addresses.map((each) => tlv(0x87, Buffer.from(each.split('.').map(Number)))),
  ]
  if (names.length > 0) extensions.push(extension('2.5.29.17', subject === '', tlv(TAG.sequence, ...names)))
  const { identifier, digest } = signatureKind(issuer.privateKey)
  const body = tlv(
    TAG.sequence,
    VERSION_3,
    tlv(TAG.integer, serial),
    identifier,
    name(issuer.name),
    tlv(TAG.sequence, time(notBefore), time(notAfter)),
    name(subject),
    publicKey.export({ type: 'spki', format: 'der' }),
    tlv(0xa3, tlv(TAG.sequence, ...extensions)),
  )
  return pem('CERTIFICATE', tlv(TAG.sequence, body, identifier, bits(sign(digest, body, issuer.privateKey))))
}

/** A certificate's subject byte by byte: what it signs has to repeat it so. */
export function subjectOf(certificate: X509Certificate): Buffer {
  const body = values(values(certificate.raw)[0]?.content ?? Buffer.alloc(0))[0]
  const subject = body && values(body.content)[5]
  if (!subject) throw new Error('the certificate has no subject')
  return subject.whole
}

/** A certificate's subjectKeyIdentifier, by which what it signs points to it; undefined where it has none. */
export function keyIdOf(certificate: X509Certificate): Buffer | undefined {
  const body = values(values(certificate.raw)[0]?.content ?? Buffer.alloc(0))[0]
  const extensions = body && values(body.content).find(({ tag }) => tag === 0xa3)
  const list = extensions && values(extensions.content)[0]
  for (const { content } of list ? values(list.content) : []) {
    const [id, ...rest] = values(content)
    const octets = rest.at(-1)
    if (id?.whole.equals(SUBJECT_KEY_ID) && octets) return values(octets.content)[0]?.content
  }
  return undefined
}

function extension(id: string, critical: boolean, value: Buffer): Buffer {
  return tlv(TAG.sequence, oid(id), ...(critical ? [TRUE] : []), tlv(TAG.octets, value))
}

function keyId(key: KeyObject): Buffer {
  return createHash('sha1')
    .update(key.export({ type: 'spki', format: 'der' }).subarray(-32))
    .digest()
}

function name(organisation: string | Buffer): Buffer {
  if (typeof organisation !== 'string') return organisation
  if (organisation === '') return tlv(TAG.sequence)
  return tlv(TAG.sequence, tlv(TAG.set, tlv(TAG.sequence, oid('2.5.4.10'), tlv(TAG.utf8, Buffer.from(organisation)))))
}

/** UTCTime up to 2049, GeneralizedTime later: RFC 5280 wants it so. */
function time(date: Date): Buffer {
  const text = date.toISOString().replace(/[-:T]|\.\d+/g, '')
  return date.getUTCFullYear() < 2050 ? tlv(0x17, Buffer.from(text.slice(2))) : tlv(0x18, Buffer.from(text))
}

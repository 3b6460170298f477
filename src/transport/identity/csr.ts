import { createPublicKey, type KeyObject, sign, verify } from 'node:crypto'
import { bits, pem, TAG, tlv, type Value, values } from './der.ts'
import { signatureKind } from './signature.ts'

/**
 * A PKCS #10 certificate request (RFC 2986) with an empty subject and no attributes, as PEM: all that an authority needs which
 * names the holder itself. node:crypto makes no requests. @param key An Ed25519, ECDSA or RSA pair.
 */
export function certificateRequest(key: { publicKey: KeyObject; privateKey: KeyObject }): string {
  const version = tlv(TAG.integer, Buffer.of(0))
  const subject = tlv(TAG.sequence)
  const attributes = tlv(0xa0)
  const info = tlv(TAG.sequence, version, subject, key.publicKey.export({ type: 'spki', format: 'der' }), attributes)
  const { identifier, digest } = signatureKind(key.privateKey)
  return pem('CERTIFICATE REQUEST', tlv(TAG.sequence, info, identifier, bits(sign(digest, info, key.privateKey))))
}

const REQUEST = /-----BEGIN (CERTIFICATE(?: REQUEST)?)-----([A-Za-z0-9+/=\s]+)-----END \1-----/

/**
 * The key that a request is for, once its signature shows that the sender has it. Whatever name it asks for is not looked at.
 * Throws what is wrong with it. Ed25519, ECDSA with P-256 or P-384, or RSA of at least 2048 bits with SHA-256.
 */
export function readCertificateRequest(text: string): KeyObject {
  const body = REQUEST.exec(text)?.[2]
  if (body === undefined) throw new Error('it is no PEM block CERTIFICATE REQUEST')
  const [request] = values(Buffer.from(body, 'base64'))
  const [info, algorithm, signature] = request?.tag === TAG.sequence ? values(request.content) : []
  const [, , spki] = info?.tag === TAG.sequence ? values(info.content) : []
  if (!info || !algorithm || !spki || signature?.tag !== TAG.bits) throw new Error('it is no PKCS #10 request')
  const key = createPublicKey({ key: spki.whole, format: 'der', type: 'spki' })
  const { identifier, digest } = signatureKind(key)
  if (!algorithm.whole.equals(identifier)) throw new Error('its key is not of the kind that it is signed with, or not with that digest')
  if (key.asymmetricKeyType === 'rsa' && (key.asymmetricKeyDetails?.modulusLength ?? 0) < 2048)
    throw new Error('its RSA key is shorter than 2048 bits')
  if (!signed(info, key, signature, digest)) throw new Error('its signature is wrong')
  return key
}

function signed(info: Value, key: KeyObject, signature: Value, digest: 'sha256' | 'sha384' | null): boolean {
  return signature.content[0] === 0 && verify(digest, info.whole, key, signature.content.subarray(1))
}

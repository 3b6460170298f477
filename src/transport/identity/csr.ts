import { createPublicKey, type KeyObject, sign, verify } from 'node:crypto'
import { bits, ED25519, pem, RSA_SHA256, TAG, tlv, type Value, values } from './der.ts'

/**
 * A PKCS #10 certificate request (RFC 2986) with an empty subject and no attributes, as PEM: all that an authority needs which
 * names the holder itself. node:crypto makes no requests. @param key An Ed25519 or RSA pair.
 */
export function certificateRequest(key: { publicKey: KeyObject; privateKey: KeyObject }): string {
  const version = tlv(TAG.integer, Buffer.of(0))
  const subject = tlv(TAG.sequence)
  const attributes = tlv(0xa0)
  const info = tlv(TAG.sequence, version, subject, key.publicKey.export({ type: 'spki', format: 'der' }), attributes)
  const rsa = key.privateKey.asymmetricKeyType === 'rsa'
  const signature = bits(sign(rsa ? 'sha256' : null, info, key.privateKey))
  return pem('CERTIFICATE REQUEST', tlv(TAG.sequence, info, rsa ? RSA_SHA256 : ED25519, signature))
}

const REQUEST = /-----BEGIN (CERTIFICATE(?: REQUEST)?)-----([A-Za-z0-9+/=\s]+)-----END \1-----/

/**
 * The key that a request is for, once its signature shows that the sender has it. Whatever name it asks for is not looked at.
 * Throws what is wrong with it. Ed25519, or RSA of at least 2048 bits with SHA-256.
 */
export function readCertificateRequest(text: string): KeyObject {
  const body = REQUEST.exec(text)?.[2]
  if (body === undefined) throw new Error('it is no PEM block CERTIFICATE REQUEST')
  const [request] = values(Buffer.from(body, 'base64'))
  const [info, algorithm, signature] = request?.tag === TAG.sequence ? values(request.content) : []
  const [, , spki] = info?.tag === TAG.sequence ? values(info.content) : []
  if (!info || !algorithm || !spki || signature?.tag !== TAG.bits) throw new Error('it is no PKCS #10 request')
  const rsa = algorithm.whole.equals(RSA_SHA256)
  if (!rsa && !algorithm.whole.equals(ED25519)) throw new Error('it is signed with neither Ed25519 nor RSA and SHA-256')
  const key = createPublicKey({ key: spki.whole, format: 'der', type: 'spki' })
  if (key.asymmetricKeyType !== (rsa ? 'rsa' : 'ed25519')) throw new Error('its key is not of the kind that it is signed with')
  if (rsa && (key.asymmetricKeyDetails?.modulusLength ?? 0) < 2048) throw new Error('its RSA key is shorter than 2048 bits')
  if (!signed(info, key, signature, rsa ? 'sha256' : null)) throw new Error('its signature is wrong')
  return key
}

function signed(info: Value, key: KeyObject, signature: Value, digest: 'sha256' | null): boolean {
  return signature.content[0] === 0 && verify(digest, info.whole, key, signature.content.subarray(1))
}

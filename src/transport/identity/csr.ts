import { type KeyObject, sign } from 'node:crypto'
import { bits, ED25519, pem, TAG, tlv } from './der.ts'

/**
 * A PKCS #10 certificate request (RFC 2986) with an empty subject and no attributes, as PEM: all that an authority needs which
 * names the holder itself. node:crypto makes no requests. @param key An Ed25519 pair.
 */
export function certificateRequest(key: { publicKey: KeyObject; privateKey: KeyObject }): string {
  const version = tlv(TAG.integer, Buffer.of(0))
  const subject = tlv(TAG.sequence)
  const attributes = tlv(0xa0)
  const info = tlv(TAG.sequence, version, subject, key.publicKey.export({ type: 'spki', format: 'der' }), attributes)
  return pem('CERTIFICATE REQUEST', tlv(TAG.sequence, info, ED25519, bits(sign(null, info, key.privateKey))))
}

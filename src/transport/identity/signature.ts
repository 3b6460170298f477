import type { KeyObject } from 'node:crypto'
import { ECDSA_SHA256, ECDSA_SHA384, ED25519, RSA_SHA256 } from './der.ts'

/** How a key signs certificates and requests. */
export interface SignatureKind {
  /** As X.509 names it: an AlgorithmIdentifier. */
  readonly identifier: Buffer
  /** Null: the kind has one of its own. */
  readonly digest: 'sha256' | 'sha384' | null
}

/** By the kind of a private or public key. Throws when it is none that we sign with. */
export function signatureKind(key: KeyObject): SignatureKind {
  if (key.asymmetricKeyType === 'ed25519') return { identifier: ED25519, digest: null }
  if (key.asymmetricKeyType === 'rsa') return { identifier: RSA_SHA256, digest: 'sha256' }
  const curve = key.asymmetricKeyDetails?.namedCurve
  if (curve === 'prime256v1') return { identifier: ECDSA_SHA256, digest: 'sha256' }
  if (curve === 'secp384r1') return { identifier: ECDSA_SHA384, digest: 'sha384' }
  throw new Error(`a key of the kind ${curve ?? key.asymmetricKeyType} cannot sign here; use Ed25519, ECDSA with P-256 or P-384, or RSA`)
}

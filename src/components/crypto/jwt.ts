import { constants, type KeyObject, verify } from 'node:crypto'
import type { LoadedKey } from './key.ts'

export interface TokenRules {
  /** Undefined: any. */
  issuer?: string
  audience: string
  /** Undefined: any. */
  subject?: string
  /** Milliseconds that clocks may be apart. */
  skew: number
  /** Rejects when there is no such key. */
  findKey(id: string): Promise<LoadedKey>
  /** Milliseconds since 1970. */
  now(): number
}

interface Algorithm {
  digest: string | null
  fits(key: KeyObject): boolean
  padding?: number
}

const isRsa = (key: KeyObject) => key.asymmetricKeyType === 'rsa'
const onCurve = (curve: string) => (key: KeyObject) => key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === curve
const pss = (digest: string): Algorithm => ({
  digest,
  fits: (key) => isRsa(key) || key.asymmetricKeyType === 'rsa-pss',
  padding: constants.RSA_PKCS1_PSS_PADDING,
})

/** Signatures with a public key only: with a shared one whoever may check could also sign. */
const ALGORITHMS: Readonly<Record<string, Algorithm>> = {
  RS256: { digest: 'sha256', fits: isRsa },
  RS384: { digest: 'sha384', fits: isRsa },
  RS512: { digest: 'sha512', fits: isRsa },
  PS256: pss('sha256'),
  PS384: pss('sha384'),
  PS512: pss('sha512'),
  ES256: { digest: 'sha256', fits: onCurve('prime256v1') },
  ES384: { digest: 'sha384', fits: onCurve('secp384r1') },
  ES512: { digest: 'sha512', fits: onCurve('secp521r1') },
  EdDSA: { digest: null, fits: (key) => key.asymmetricKeyType === 'ed25519' || key.asymmetricKeyType === 'ed448' },
}

/** Checks a signed token (RFC 7519, 7515): signature, issuer, audience, times. Rejects with what is wrong, never with the token. */
export async function verifyToken(token: string, rules: TokenRules): Promise<void> {
  const parts = token.split('.')
  if (parts.length !== 3) throw new Error('not a signed token')
  const [head, body, signature] = parts as [string, string, string]
  const header = object(head)
  const algorithm = typeof header.alg === 'string' && Object.hasOwn(ALGORITHMS, header.alg) ? ALGORITHMS[header.alg] : undefined
  if (!algorithm) throw new Error('the algorithm is not supported')
  if (header.crit !== undefined) throw new Error('the token has critical extensions')
  if (typeof header.kid !== 'string') throw new Error('the token names no key')
  const { key, algorithm: own, use, operations } = await rules.findKey(header.kid)
  if (own !== undefined && own !== header.alg) throw new Error('could not verify message: the key is for another algorithm')
  if ((use !== undefined && use !== 'sig') || (operations && !operations.includes('verify')))
    throw new Error('could not verify message: the key is not for signatures')
  if (!algorithm.fits(key)) throw new Error('could not verify message: the key is of another kind')
  const signed = Buffer.from(`${head}.${body}`)
  const options = {
    key,
    dsaEncoding: 'ieee-p1363' as const,
    ...(algorithm.padding === undefined ? {} : { padding: algorithm.padding, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }),
  }
  if (!verify(algorithm.digest, signed, options, bytes(signature))) throw new Error('could not verify message: the signature is wrong')
  checkClaims(object(body), rules)
}

function checkClaims(claims: Readonly<Record<string, unknown>>, { issuer, audience, subject, skew, now }: TokenRules): void {
  const time = now()
  const at = (name: string): number | undefined => {
    const value = claims[name]
    if (value === undefined) return undefined
    if (typeof value !== 'number' || !Number.isFinite(value)) throw new Error(`its "${name}" is not a time`)
    return value * 1000
  }
  const expires = at('exp')
  if (expires !== undefined && time >= expires + skew) throw new Error('the token has expired: "exp" has passed')
  for (const name of ['nbf', 'iat']) {
    const from = at(name)
    if (from !== undefined && time < from - skew) throw new Error(`the token is not valid yet: "${name}" is to come`)
  }
  if (issuer !== undefined && claims.iss !== issuer) throw new Error('the token is of another issuer: "iss" differs')
  if (subject !== undefined && claims.sub !== subject) throw new Error('the token is about somebody else: "sub" differs')
  const { aud } = claims
  if (aud !== audience && !(Array.isArray(aud) && aud.includes(audience)))
    throw new Error('the token is for another audience: "aud" differs')
}

function bytes(text: string): Buffer {
  if (!/^[A-Za-z0-9_-]*$/.test(text)) throw new Error('not base64url')
  return Buffer.from(text, 'base64url')
}

function object(text: string): Record<string, unknown> {
  const value: unknown = JSON.parse(bytes(text).toString())
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw new Error('not a JSON object')
  return value as Record<string, unknown>
}

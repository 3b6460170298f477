import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'

export interface TokenKeyOptions {
  /** JWS name, e.g. RS256. */
  readonly algorithm: string
  /** Empty: the one of the published key. */
  readonly keyId: string
}

/** What signs tokens, and what is published of it. */
export interface TokenKey {
  readonly algorithm: string
  readonly keyId: string
  /** JSON of the published keys (RFC 7517). */
  readonly keySet: string
  readonly privateKey: KeyObject
}

type Jwk = Record<string, unknown>

const DIGESTS: Readonly<Record<string, { digest: string | null; type: string; curve?: string }>> = {
  RS256: { digest: 'sha256', type: 'rsa' },
  RS384: { digest: 'sha384', type: 'rsa' },
  RS512: { digest: 'sha512', type: 'rsa' },
  ES256: { digest: 'sha256', type: 'ec', curve: 'prime256v1' },
  ES384: { digest: 'sha384', type: 'ec', curve: 'secp384r1' },
  ES512: { digest: 'sha512', type: 'ec', curve: 'secp521r1' },
  EdDSA: { digest: null, type: 'ed25519' },
}
/** Members that make the key, by kind, in the order of RFC 7638. */
const MEMBERS: Readonly<Record<string, readonly string[]>> = {
  RSA: ['e', 'kty', 'n'],
  EC: ['crv', 'kty', 'x', 'y'],
  OKP: ['crv', 'kty', 'x'],
}

/** A new RSA key and its published form. */
export function generateTokenKey({ keyId }: TokenKeyOptions): { key: string; keySet: string } {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const jwk = publicKey.export({ format: 'jwk' }) as Jwk
  const keySet = JSON.stringify({ keys: [{ alg: 'RS256', kid: keyId || thumbprint(jwk), use: 'sig', ...jwk }] })
  return { key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string, keySet }
}

/** Throws when the key does not fit the algorithm, or is not among the published ones. */
export function parseTokenKey(keyText: string, setText: string, { algorithm, keyId }: TokenKeyOptions): TokenKey {
  const privateKey = createPrivateKey(keyText)
  const kind = DIGESTS[algorithm]
  if (!kind) throw new Error(`--jwt-signing-algorithm ${algorithm} is not known; use one of ${Object.keys(DIGESTS).join(', ')}`)
  const curve = privateKey.asymmetricKeyDetails?.namedCurve
  if (privateKey.asymmetricKeyType !== kind.type || (kind.curve !== undefined && kind.curve !== curve))
    throw new Error(`a key of the kind ${curve ?? privateKey.asymmetricKeyType} cannot sign with ${algorithm}`)
  const own = createPublicKey(privateKey).export({ format: 'jwk' }) as Jwk
  let keys: unknown
  try {
    keys = (JSON.parse(setText) as { keys?: unknown }).keys
  } catch {
    throw new Error('the published keys are no JSON')
  }
  if (!Array.isArray(keys) || keys.length === 0) throw new Error('there are no published keys')
  const print = thumbprint(own)
  const match = (keys as Jwk[]).find((each) => thumbprint(each) === print && (keyId === '' || each.kid === keyId))
  if (!match) throw new Error(`the key is not among the published ones${keyId === '' ? '' : ` with the kid ${keyId}`}`)
  return { algorithm, keyId: typeof match.kid === 'string' && match.kid !== '' ? match.kid : print, keySet: setText, privateKey }
}

export interface TokenClaims {
  readonly subject: string
  readonly audiences: readonly string[]
  /** Empty: none. */
  readonly issuer: string
  /** Milliseconds. */
  readonly life: number
  readonly skew: number
}

/** A signed token (RFC 7519). */
export function issueToken({ algorithm, keyId, privateKey }: TokenKey, { subject, audiences, issuer, life, skew }: TokenClaims): string {
  const now = Date.now()
  const seconds = (time: number) => Math.floor(time / 1000)
  const claims = {
    aud: audiences,
    exp: seconds(now + life),
    iat: seconds(now),
    ...(issuer !== '' && { iss: issuer }),
    jti: randomBytes(16).toString('hex'),
    nbf: seconds(now - skew),
    sub: subject,
    // Azure asks for it.
    use: 'sig',
  }
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const text = `${part({ alg: algorithm, kid: keyId, typ: 'JWT' })}.${part(claims)}`
  const signature = sign(DIGESTS[algorithm]?.digest ?? null, Buffer.from(text), { key: privateKey, dsaEncoding: 'ieee-p1363' })
  return `${text}.${signature.toString('base64url')}`
}

/** RFC 7638 with SHA-256, in the Base64 that Dapr's key ids have. */
function thumbprint(jwk: Jwk): string {
  const members = MEMBERS[String(jwk.kty)] ?? []
  const text = JSON.stringify(Object.fromEntries(members.map((name) => [name, jwk[name]])))
  return createHash('sha256').update(text).digest('base64')
}

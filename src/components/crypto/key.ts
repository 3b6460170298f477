import { createPrivateKey, createPublicKey, createSecretKey, type KeyObject } from 'node:crypto'

/** A key and what its JWK says it is for. */
export interface LoadedKey {
  key: KeyObject
  algorithm: string | undefined
  use: string | undefined
  operations: readonly string[] | undefined
}

/** The members of a JWK that are read here; the rest is the library's. */
export type Jwk = Exclude<Extract<Parameters<typeof createPublicKey>[0], { format: 'jwk' }>['key'], undefined> & {
  kid?: string
  kty?: string
  k?: string
  d?: string
  alg?: string
  use?: string
  key_ops?: string[]
}

const RAW_SIZES = [16, 24, 32]

/** Reads a JWK, a PEM or a symmetric key; the extension (`.json`, `.pem`) decides, else the content does. Throws when it is none. */
export function parseKey(content: Buffer, extension = ''): LoadedKey {
  if (content.length === 0) throw new Error('key is empty')
  if (extension === '.json') return fromJwk(JSON.parse(content.toString()) as Jwk)
  if (extension === '.pem') return plain(fromPem(content))
  if (content[0] === 0x7b && !RAW_SIZES.includes(content.length)) return fromJwk(JSON.parse(content.toString()) as Jwk)
  if (content.length > 10 && content.subarray(0, 5).toString('latin1') === '-----') return plain(fromPem(content))
  return plain(createSecretKey(symmetric(content)))
}

export function fromJwk(jwk: Jwk): LoadedKey {
  const key =
    jwk.kty === 'oct'
      ? createSecretKey(Buffer.from(String(jwk.k), 'base64url'))
      : jwk.d === undefined
        ? createPublicKey({ key: jwk, format: 'jwk' })
        : createPrivateKey({ key: jwk, format: 'jwk' })
  return { key, algorithm: jwk.alg || undefined, use: jwk.use || undefined, operations: jwk.key_ops?.length ? jwk.key_ops : undefined }
}

function plain(key: KeyObject): LoadedKey {
  return { key, algorithm: undefined, use: undefined, operations: undefined }
}

function fromPem(content: Buffer): KeyObject {
  return /-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(content.toString('latin1')) ? createPrivateKey(content) : createPublicKey(content)
}

/** Base64 in one of its alphabets, else the bytes as they are. Text that could be both is Base64: so daprd reads it, whatever its length. */
function symmetric(content: Buffer): Buffer {
  const text = content
    .toString('latin1')
    .replace(/[\n=]+$/, '')
    .replaceAll(/[\r\n]/g, '')
  if (text.length % 4 !== 1 && (/^[A-Za-z0-9+/]+$/.test(text) || /^[A-Za-z0-9_-]+$/.test(text))) return Buffer.from(text, 'base64')
  return content
}

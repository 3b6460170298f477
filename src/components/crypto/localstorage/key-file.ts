import { createPrivateKey, createPublicKey, createSecretKey, type KeyObject } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { extname, join } from 'node:path'

/** A key and what its JWK says it is for. */
export interface LoadedKey {
  name: string
  key: KeyObject
  algorithm: string | undefined
  use: string | undefined
  operations: readonly string[] | undefined
}

/** The members of a JWK that are read here; the rest is the library's. */
type Jwk = Exclude<Extract<Parameters<typeof createPublicKey>[0], { format: 'jwk' }>['key'], undefined> & {
  kty?: string
  k?: string
  d?: string
  alg?: string
  use?: string
  key_ops?: string[]
}

const RAW_SIZES = [16, 24, 32]
/** Larger files are no keys. */
const SIZE_LIMIT = 1024 * 1024

/** Reads the key file of that name in the folder. Errors never show the file's content. */
export async function loadKey(folder: string, name: string): Promise<LoadedKey> {
  if (name === '' || name.split(/[\\/]/).includes('..') || name.includes('\0')) throw new Error(`key ${name} is not a valid key name`)
  let content: Buffer
  try {
    content = await readFile(join(folder, name))
  } catch {
    throw new Error(`key ${name} not found`)
  }
  if (content.length > SIZE_LIMIT) throw new Error(`key ${name} is not a key: the file is too large`)
  try {
    return { name, ...parse(content, extname(name).toLowerCase()) }
  } catch (error) {
    throw new Error(`key ${name} cannot be read as ${extname(name) || 'a'} key`, { cause: error })
  }
}

function parse(content: Buffer, extension: string): Omit<LoadedKey, 'name'> {
  if (extension === '.json') return fromJwk(content)
  if (extension === '.pem') return plain(fromPem(content))
  if (content[0] === 0x7b && !RAW_SIZES.includes(content.length)) return fromJwk(content)
  if (content.subarray(0, 5).toString('latin1') === '-----') return plain(fromPem(content))
  return plain(createSecretKey(symmetric(content)))
}

function plain(key: KeyObject): Omit<LoadedKey, 'name'> {
  return { key, algorithm: undefined, use: undefined, operations: undefined }
}

function fromJwk(content: Buffer): Omit<LoadedKey, 'name'> {
  const jwk = JSON.parse(content.toString()) as Jwk
  const key =
    jwk.kty === 'oct'
      ? createSecretKey(Buffer.from(String(jwk.k), 'base64url'))
      : jwk.d === undefined
        ? createPublicKey({ key: jwk, format: 'jwk' })
        : createPrivateKey({ key: jwk, format: 'jwk' })
  return { key, algorithm: jwk.alg, use: jwk.use, operations: jwk.key_ops }
}

function fromPem(content: Buffer): KeyObject {
  return /-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(content.toString('latin1')) ? createPrivateKey(content) : createPublicKey(content)
}

/** Bytes of a key's size as they are, else Base64 in either alphabet, else the bytes. */
function symmetric(content: Buffer): Buffer {
  if (RAW_SIZES.includes(content.length)) return content
  const text = content.toString('latin1').trim()
  if (/^[A-Za-z0-9+/_-]+={0,2}$/.test(text)) {
    const decoded = Buffer.from(text, 'base64')
    if (decoded.length > 0) return decoded
  }
  return content
}

import { constants, createCipheriv, createDecipheriv, type KeyObject, privateDecrypt, publicEncrypt } from 'node:crypto'
import type { WrapAlgorithm } from '../../../blocks/crypto/driver.ts'
import type { LoadedKey } from './key-file.ts'

/** RFC 3394's initial value. */
const KW_IV = Buffer.alloc(8, 0xa6)
/** Each CBC-wrapped key is random and used once, so the vector is fixed. */
const CBC_IV = Buffer.alloc(16)

const SYMMETRIC: Partial<Record<WrapAlgorithm, { cipher: string; size: number; iv: Buffer }>> = {
  A256KW: { cipher: 'id-aes256-wrap', size: 32, iv: KW_IV },
  'A128CBC-NOPAD': { cipher: 'aes-128-cbc', size: 16, iv: CBC_IV },
  'A192CBC-NOPAD': { cipher: 'aes-192-cbc', size: 24, iv: CBC_IV },
  'A256CBC-NOPAD': { cipher: 'aes-256-cbc', size: 32, iv: CBC_IV },
}

export function wrap(loaded: LoadedKey, algorithm: WrapAlgorithm, plaintext: Buffer): Buffer {
  checkUse(loaded, algorithm, ['wrapKey', 'encrypt'])
  const symmetric = SYMMETRIC[algorithm]
  if (!symmetric)
    return publicEncrypt({ key: rsa(loaded, algorithm), padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' }, plaintext)
  const cipher = createCipheriv(symmetric.cipher, secret(loaded, algorithm, symmetric.size), symmetric.iv).setAutoPadding(false)
  return Buffer.concat([cipher.update(plaintext), cipher.final()])
}

export function unwrap(loaded: LoadedKey, algorithm: WrapAlgorithm, wrapped: Buffer): Buffer {
  checkUse(loaded, algorithm, ['unwrapKey', 'decrypt'])
  const symmetric = SYMMETRIC[algorithm]
  try {
    if (!symmetric) {
      if (loaded.key.type !== 'private') throw new Error(`key ${loaded.name} is public: unwrapping needs the private key`)
      return privateDecrypt({ key: rsa(loaded, algorithm), padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' }, wrapped)
    }
    const decipher = createDecipheriv(symmetric.cipher, secret(loaded, algorithm, symmetric.size), symmetric.iv).setAutoPadding(false)
    return Buffer.concat([decipher.update(wrapped), decipher.final()])
  } catch (error) {
    if (error instanceof Error && error.message.startsWith('key ')) throw error
    throw new Error(`key ${loaded.name} does not unwrap the file key`, { cause: error })
  }
}

function secret(loaded: LoadedKey, algorithm: string, size: number): KeyObject {
  if (loaded.key.type !== 'secret' || loaded.key.symmetricKeySize !== size)
    throw new Error(`key ${loaded.name} does not fit ${algorithm}: a symmetric key of ${size} bytes is needed`)
  return loaded.key
}

function rsa(loaded: LoadedKey, algorithm: string): KeyObject {
  if (loaded.key.asymmetricKeyType !== 'rsa') throw new Error(`key ${loaded.name} does not fit ${algorithm}: an RSA key is needed`)
  return loaded.key
}

function checkUse(loaded: LoadedKey, algorithm: string, operations: readonly string[]): void {
  if (loaded.use === 'sig') throw new Error(`key ${loaded.name} is for signatures`)
  if (loaded.operations && !operations.some((operation) => loaded.operations?.includes(operation)))
    throw new Error(`key ${loaded.name} may not be used for ${operations[0]}`)
  if (loaded.algorithm && loaded.algorithm !== algorithm) throw new Error(`key ${loaded.name} is for ${loaded.algorithm}, not ${algorithm}`)
}

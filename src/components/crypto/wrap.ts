import { constants, createCipheriv, createDecipheriv, type KeyObject, privateDecrypt, publicEncrypt } from 'node:crypto'
import type { CryptoProvider, WrapAlgorithm } from '../../blocks/crypto/driver.ts'
import type { LoadedKey } from './key.ts'

/** RFC 3394's initial value. */
const KW_IV = Buffer.alloc(8, 0xa6)
const KW_KEY_SIZE = 32

/** Wrapping with keys that this process holds, whatever place they are loaded from. */
export function wrapsWith(load: (name: string, signal?: AbortSignal) => Promise<LoadedKey>): Pick<CryptoProvider, 'wrapKey' | 'unwrapKey'> {
  const kek = (name: string, signal: AbortSignal | undefined) =>
    load(name, signal).catch((error: Error) => {
      throw new Error(`failed to retrieve the key encryption key: ${error.message}`, { cause: error })
    })
  return {
    async wrapKey(plaintext, algorithm, keyName, signal) {
      return wrap(await kek(keyName, signal), algorithm, plaintext)
    },
    async unwrapKey(wrapped, algorithm, keyName, signal) {
      return unwrap(await kek(keyName, signal), algorithm, wrapped)
    },
  }
}

function wrap(loaded: LoadedKey, algorithm: WrapAlgorithm, plaintext: Buffer): Buffer {
  checkUse(loaded, algorithm, 'wrapKey')
  if (algorithm === 'RSA-OAEP-256') return publicEncrypt(oaep(loaded, 'encrypt'), plaintext)
  const cipher = createCipheriv('id-aes256-wrap', secret(loaded, algorithm, 'encrypt'), KW_IV)
  return Buffer.concat([cipher.update(plaintext), cipher.final()])
}

function unwrap(loaded: LoadedKey, algorithm: WrapAlgorithm, wrapped: Buffer): Buffer {
  checkUse(loaded, algorithm, 'unwrapKey')
  if (algorithm === 'RSA-OAEP-256') {
    if (loaded.key.type === 'public') throw mismatch('decrypt')
    return privateDecrypt(oaep(loaded, 'decrypt'), wrapped)
  }
  const decipher = createDecipheriv('id-aes256-wrap', secret(loaded, algorithm, 'decrypt'), KW_IV)
  return Buffer.concat([decipher.update(wrapped), decipher.final()])
}

/**
 * The format also names AES-CBC without padding, but gives its initial vector no place; daprd's local providers therefore refuse
 * it, and with a vector of our own nobody else could open the documents.
 */
function secret(loaded: LoadedKey, algorithm: WrapAlgorithm, verb: string): KeyObject {
  if (algorithm !== 'A256KW') throw new Error(`failed to ${verb} data: unsupported algorithm`)
  if (loaded.key.type !== 'secret' || loaded.key.symmetricKeySize !== KW_KEY_SIZE) throw mismatch(verb)
  return loaded.key
}

function oaep(loaded: LoadedKey, verb: string) {
  if (loaded.key.asymmetricKeyType !== 'rsa') throw mismatch(verb)
  return { key: loaded.key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' }
}

function mismatch(verb: string): Error {
  return new Error(`failed to ${verb} data: key type mismatch`)
}

function checkUse(loaded: LoadedKey, algorithm: string, operation: string): void {
  if ((loaded.operations && !loaded.operations.includes(operation)) || (loaded.use && loaded.use !== 'enc'))
    throw new Error(`key cannot perform the '${operation}' operation`)
  if (loaded.algorithm && loaded.algorithm !== algorithm) throw new Error(`key cannot be used with algorithm '${algorithm}'`)
}

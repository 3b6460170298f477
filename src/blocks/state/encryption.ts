import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { MetadataError } from '../../components/metadata.ts'
import type { Named } from '../../components/sets.ts'
import type { StateStore } from './driver.ts'

const NONCE = 12
const TAG = 16

interface Key {
  /** Name of the secret the key came from; stands in every record, so that old records find their key after a rotation. */
  name: string
  cipher: `aes-${128 | 192 | 256}-gcm`
  secret: Buffer
}

/** Encrypts the values of one store: `base64(nonce ‖ ciphertext ‖ tag)||<name of the secret>`, AES-GCM. */
export interface Encryption {
  encrypt(value: Buffer): Buffer
  /** Throws an Error when the record names no key of this store or was tampered with. */
  decrypt(record: Buffer): Buffer
}

/**
 * The encryption that a component asks for with primaryEncryptionKey (and secondaryEncryptionKey, for reading only);
 * undefined when it asks for none. `secretName` tells which secret a property was read from.
 * Throws MetadataError when a key is no hex key of 16, 24 or 32 bytes or was not given as a secretKeyRef: a store that
 * was meant to be encrypted is never written in clear.
 */
export function encryptionOf(
  store: Named<StateStore>,
  secretName: (store: string, property: string) => string | undefined,
): Encryption | undefined {
  const primary = keyOf(store, 'primaryEncryptionKey', secretName)
  const secondary = keyOf(store, 'secondaryEncryptionKey', secretName)
  if (!primary) {
    if (secondary) throw new MetadataError(`state store ${store.name}: secondaryEncryptionKey is given without primaryEncryptionKey`)
    return undefined
  }
  const keys = new Map([secondary, primary].flatMap((key) => (key ? [[key.name, key] as const] : [])))
  return {
    encrypt(value) {
      const nonce = randomBytes(NONCE)
      const cipher = createCipheriv(primary.cipher, primary.secret, nonce)
      const sealed = Buffer.concat([nonce, cipher.update(value), cipher.final(), cipher.getAuthTag()])
      return Buffer.from(`${sealed.toString('base64')}||${primary.name}`)
    },
    decrypt(record) {
      const text = record.toString()
      const at = text.lastIndexOf('||')
      if (at < 0) throw new Error(`could not decrypt data for state store ${store.name}: encryption key name not found on record`)
      const name = text.slice(at + 2)
      const key = keys.get(name)
      if (!key) throw new Error(`could not decrypt data for state store ${store.name}: encryption key ${name} not found`)
      const sealed = Buffer.from(text.slice(0, at), 'base64')
      if (sealed.length < NONCE + TAG) throw new Error(`could not decrypt data for state store ${store.name}: the record is too short`)
      const decipher = createDecipheriv(key.cipher, key.secret, sealed.subarray(0, NONCE), { authTagLength: TAG }).setAuthTag(
        sealed.subarray(-TAG),
      )
      return Buffer.concat([decipher.update(sealed.subarray(NONCE, -TAG)), decipher.final()])
    },
  }
}

/**
 * What is encrypted of a value given as JSON: a string goes without its quotes, as Dapr writes it; anything else stays
 * JSON (Dapr writes Go's own text for objects there, which nothing can read back).
 */
export function plainOf(value: Buffer, json: boolean): Buffer {
  return json && value[0] === 0x22 ? Buffer.from(JSON.parse(value.toString()) as string) : value
}

function keyOf(
  store: Named<StateStore>,
  property: string,
  secretName: (store: string, property: string) => string | undefined,
): Key | undefined {
  const hex = store.properties[property.toLowerCase()]
  if (hex === undefined) return undefined
  const name = secretName(store.name, property)
  if (name === undefined) throw new MetadataError(`state store ${store.name}: ${property} must be given with secretKeyRef, not as a value`)
  if (!/^([0-9a-f]{32}|[0-9a-f]{48}|[0-9a-f]{64})$/i.test(hex))
    throw new MetadataError(`state store ${store.name}: ${property} is not a hex key of 16, 24 or 32 bytes`)
  const secret = Buffer.from(hex, 'hex')
  return { name, secret, cipher: `aes-${(secret.length * 8) as 128 | 192 | 256}-gcm` }
}

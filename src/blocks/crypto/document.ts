import { type CipherGCMTypes, createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import type { WrapAlgorithm } from './driver.ts'
import { type CipherName, type Manifest, readHeader, SignatureError, writeHeader } from './header.ts'

const SEGMENT = 65_536
const TAG = 16
const FILE_KEY = 32

export interface EncryptSettings {
  /** Name written into the document; undefined leaves it out. */
  keyName: string | undefined
  wrapAlgorithm: WrapAlgorithm
  cipher: CipherName
  wrap(fileKey: Buffer): Promise<Buffer>
}

/** Encrypts a stream into a `dapr.io/enc/v1` document; holds one segment of 64 KiB besides the chunk at hand. */
export async function* encryptDocument(plain: AsyncIterable<Buffer>, settings: EncryptSettings): AsyncGenerator<Buffer> {
  const fileKey = randomBytes(FILE_KEY)
  const wrappedKey = await settings.wrap(fileKey).catch((error: Error) => {
    throw new Error(`failed to wrap the file key: ${error.message}`, { cause: error })
  })
  const { keyName, wrapAlgorithm, cipher } = settings
  const manifest: Manifest = { keyName, wrapAlgorithm, cipher, wrappedKey, noncePrefix: randomBytes(7) }
  yield writeHeader(manifest, fileKey)
  const key = payloadKey(fileKey, manifest.noncePrefix)
  for await (const { data, index, last } of segments(plain, SEGMENT)) {
    const sealing = createCipheriv(nodeName(cipher), key, nonce(manifest.noncePrefix, index, last), { authTagLength: TAG })
    yield Buffer.concat([sealing.update(data), sealing.final(), sealing.getAuthTag()])
  }
}

/** Decrypts a document; nothing is given out before its segment is proven. `unwrap` gets the manifest to choose the key by. */
export async function* decryptDocument(
  document: AsyncIterable<Buffer>,
  keyNameOf: (manifest: Manifest) => string,
  unwrap: (manifest: Manifest, keyName: string) => Promise<Buffer>,
): AsyncGenerator<Buffer> {
  const source = document[Symbol.asyncIterator]()
  try {
    const { manifest, verify, rest } = await readHeader(source)
    const fileKey = await unwrap(manifest, keyNameOf(manifest)).catch((error: unknown) => {
      // Whether a key exists, or fits, is not for whoever made the document: both read as a wrong signature.
      throw new SignatureError({ cause: error })
    })
    if (fileKey.length !== FILE_KEY) throw new SignatureError()
    verify(fileKey)
    const key = payloadKey(fileKey, manifest.noncePrefix)
    for await (const { data, index, last } of segments(continued(rest, source), SEGMENT + TAG)) {
      if (data.length < TAG) throw new SegmentError(index)
      const opening = createDecipheriv(nodeName(manifest.cipher), key, nonce(manifest.noncePrefix, index, last), { authTagLength: TAG })
      opening.setAuthTag(data.subarray(data.length - TAG))
      let plain: Buffer
      try {
        plain = Buffer.concat([opening.update(data.subarray(0, data.length - TAG)), opening.final()])
      } catch {
        throw new SegmentError(index)
      }
      yield plain
    }
  } finally {
    await source.return?.()
  }
}

/** A segment is damaged, missing, out of order, or the document was cut short. */
export class SegmentError extends Error {
  override readonly name = 'SegmentError'
  constructor(index: number) {
    super(`error processing segment ${index}: failed to decrypt segment`)
  }
}

/**
 * Cuts a stream into pieces of `size`; the last one, possibly shorter, is marked. An empty stream has none.
 * A piece is valid until the next one is asked for: all share one buffer.
 */
async function* segments(stream: AsyncIterable<Buffer>, size: number): AsyncGenerator<{ data: Buffer; index: number; last: boolean }> {
  const held = Buffer.allocUnsafe(size)
  let length = 0
  let index = 0
  for await (const chunk of stream) {
    for (let at = 0; at < chunk.length; ) {
      // A full piece goes only when a byte behind it proves that it is not the last.
      if (length === size) {
        if (index >= 0xffff_ffff) throw new Error('input stream is too large')
        yield { data: held, index: index++, last: false }
        length = 0
      }
      const copied = chunk.copy(held, length, at)
      length += copied
      at += copied
    }
  }
  if (length > 0) yield { data: held.subarray(0, length), index, last: true }
}

async function* continued(first: Buffer, source: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  yield first
  for (let next = await source.next(); !next.done; next = await source.next()) yield next.value
}

function payloadKey(fileKey: Buffer, noncePrefix: Buffer): Buffer {
  return Buffer.from(hkdfSync('sha256', fileKey, noncePrefix, 'payload', 32))
}

function nonce(prefix: Buffer, index: number, last: boolean): Buffer {
  const value = Buffer.alloc(12)
  prefix.copy(value)
  value.writeUInt32BE(index, 7)
  value[11] = last ? 1 : 0
  return value
}

/** Both take 32-byte keys, 12-byte nonces and 16-byte tags; the types only know GCM by name. */
function nodeName(cipher: CipherName): CipherGCMTypes {
  return cipher === 'AES-GCM' ? 'aes-256-gcm' : ('chacha20-poly1305' as CipherGCMTypes)
}

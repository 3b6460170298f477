import { type CipherGCMTypes, createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import type { WrapAlgorithm } from './driver.ts'
import { type CipherName, HEADER_LIMIT, type Manifest, readHeader, writeHeader } from './header.ts'

const SEGMENT = 65_536
const TAG = 16
const LF = 0x0a

export interface EncryptSettings {
  /** Name written into the document; undefined leaves it out. */
  keyName: string | undefined
  wrapAlgorithm: WrapAlgorithm
  cipher: CipherName
  wrap(fileKey: Buffer): Promise<Buffer>
}

/** Encrypts a stream into a `dapr.io/enc/v1` document; holds two segments of 64 KiB at most, besides the chunk at hand. */
export async function* encryptDocument(plain: AsyncIterable<Buffer>, settings: EncryptSettings): AsyncGenerator<Buffer> {
  const fileKey = randomBytes(32)
  const manifest: Manifest = {
    keyName: settings.keyName,
    wrapAlgorithm: settings.wrapAlgorithm,
    cipher: settings.cipher,
    wrappedKey: await settings.wrap(fileKey),
    noncePrefix: randomBytes(7),
  }
  yield writeHeader(manifest, fileKey)
  const key = payloadKey(fileKey, manifest.noncePrefix)
  for await (const { data, index, last } of segments(plain, SEGMENT)) {
    const cipher = createCipheriv(nodeName(manifest.cipher), key, nonce(manifest.noncePrefix, index, last), { authTagLength: TAG })
    yield Buffer.concat([cipher.update(data), cipher.final(), cipher.getAuthTag()])
  }
}

/** Decrypts a document; nothing is given out before its segment is proven. `unwrap` gets the manifest to choose the key by. */
export async function* decryptDocument(
  document: AsyncIterable<Buffer>,
  unwrap: (manifest: Manifest) => Promise<Buffer>,
): AsyncGenerator<Buffer> {
  const { lines, rest } = await splitHeader(document)
  const { manifest, verify } = readHeader(lines)
  const fileKey = await unwrap(manifest)
  if (fileKey.length !== 32) throw new Error('the unwrapped file key is not of 32 bytes')
  verify(fileKey)
  const key = payloadKey(fileKey, manifest.noncePrefix)
  for await (const { data, index, last } of segments(rest, SEGMENT + TAG)) {
    if (data.length <= TAG) throw new SegmentError(index)
    const decipher = createDecipheriv(nodeName(manifest.cipher), key, nonce(manifest.noncePrefix, index, last), { authTagLength: TAG })
    decipher.setAuthTag(data.subarray(data.length - TAG))
    let plain: Buffer
    try {
      plain = Buffer.concat([decipher.update(data.subarray(0, data.length - TAG)), decipher.final()])
    } catch {
      throw new SegmentError(index)
    }
    yield plain
  }
}

/** A segment is damaged, missing, out of order, or the document was cut short. */
export class SegmentError extends Error {
  override readonly name = 'SegmentError'
  constructor(index: number) {
    super(`the document cannot be decrypted: segment ${index} is damaged or the document was cut short`)
  }
}

/** Cuts a stream into pieces of `size`; the last one, possibly shorter, is marked. An empty stream has none. */
async function* segments(stream: AsyncIterable<Buffer>, size: number): AsyncGenerator<{ data: Buffer; index: number; last: boolean }> {
  let held: Buffer[] = []
  let length = 0
  let index = 0
  for await (const chunk of stream) {
    let rest = chunk
    while (rest.length > 0) {
      // A full piece goes only when a byte behind it proves that it is not the last.
      if (length === size) {
        if (index >= 0xffff_ffff) throw new Error('the message is too long for one document')
        yield { data: Buffer.concat(held, length), index: index++, last: false }
        held = []
        length = 0
      }
      const part = rest.subarray(0, size - length)
      held.push(part)
      length += part.length
      rest = rest.subarray(part.length)
    }
  }
  if (length > 0) yield { data: Buffer.concat(held, length), index, last: true }
}

/** The three lines before the binary part, and the part as a stream. */
async function splitHeader(document: AsyncIterable<Buffer>): Promise<{ lines: string[]; rest: AsyncIterable<Buffer> }> {
  const source = document[Symbol.asyncIterator]()
  let head = Buffer.alloc(0)
  for (;;) {
    const end = thirdLineEnd(head)
    if (end > 0) {
      const lines = head.subarray(0, end).toString().split('\n').slice(0, 3)
      return { lines, rest: continued(head.subarray(end), source) }
    }
    if (head.length > HEADER_LIMIT) throw new Error('invalid header: it has no end')
    const next = await source.next()
    if (next.done) throw new Error('invalid header: the document ends within it')
    head = Buffer.concat([head, next.value])
  }
}

function thirdLineEnd(head: Buffer): number {
  let at = 0
  for (let line = 0; line < 3; line++) {
    at = head.indexOf(LF, at) + 1
    if (at === 0) return 0
  }
  return at
}

async function* continued(first: Buffer, source: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  try {
    yield first
    for (let next = await source.next(); !next.done; next = await source.next()) yield next.value
  } finally {
    await source.return?.()
  }
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
  return cipher === 'aes-gcm' ? 'aes-256-gcm' : ('chacha20-poly1305' as CipherGCMTypes)
}

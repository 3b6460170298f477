import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto'
import { WRAP_ALGORITHMS, type WrapAlgorithm } from './driver.ts'

/** The head of a `dapr.io/enc/v1` document: three lines of text before the binary segments. */
export const SCHEME = 'dapr.io/enc/v1'
/** Longest head that is written or read, bytes. */
export const HEADER_LIMIT = 64 * 1024
const LF = 0x0a
const NONCE_PREFIX = 7

/** How the payload is encrypted, by the ids that documents store. */
export const CIPHERS = { 'AES-GCM': 1, 'CHACHA20-POLY1305': 2 } as const
export type CipherName = keyof typeof CIPHERS

export interface Manifest {
  keyName: string | undefined
  wrapAlgorithm: WrapAlgorithm
  wrappedKey: Buffer
  cipher: CipherName
  noncePrefix: Buffer
}

export interface Header {
  manifest: Manifest
  /** Throws unless the head was signed with this file key; to be called before anything is trusted. */
  verify(fileKey: Buffer): void
  /** What was read past the head. */
  rest: Buffer
}

export function writeHeader(manifest: Manifest, fileKey: Buffer): Buffer {
  const json = JSON.stringify({
    ...(manifest.keyName !== undefined && { k: manifest.keyName }),
    kw: WRAP_ALGORITHMS[manifest.wrapAlgorithm],
    wfk: manifest.wrappedKey.toString('base64'),
    cph: CIPHERS[manifest.cipher],
    np: manifest.noncePrefix.toString('base64'),
  })
  const signed = Buffer.from(`${SCHEME}\n${json}\n`)
  const header = Buffer.concat([signed, Buffer.from(`${mac(signed, fileKey).toString('base64')}\n`)])
  if (header.length > HEADER_LIMIT) throw new Error('header is too long')
  return header
}

/** Reads the head off a stream of chunks of any size, at most HEADER_LIMIT bytes of it. */
export async function readHeader(source: AsyncIterator<Buffer>): Promise<Header> {
  const ends: number[] = []
  const head = Buffer.allocUnsafe(HEADER_LIMIT)
  let length = 0
  for (;;) {
    const next = await source.next()
    if (next.done) break
    const from = length
    length += next.value.copy(head, length)
    for (let at = from; ends.length < 3; ) {
      const end = head.subarray(0, length).indexOf(LF, at)
      if (end < 0) break
      const start = ends.length === 0 ? 0 : (ends.at(-1) as number) + 1
      if (end === start) throw invalid('invalid format')
      if (ends.length === 0 && head.toString('latin1', 0, end) !== SCHEME) throw invalid('unsupported scheme')
      ends.push(end)
      at = end + 1
    }
    if (ends.length === 3) return parse(head, ends, next.value.subarray((ends[2] as number) + 1 - from))
    if (length === HEADER_LIMIT) break
  }
  throw invalid(['scheme name not found', 'manifest not found', 'message authentication code not found'][ends.length] as string)
}

function parse(head: Buffer, ends: readonly number[], rest: Buffer): Header {
  const [first, second, third] = ends as [number, number, number]
  const signed = Buffer.from(head.subarray(0, second + 1))
  const signature = head.toString('latin1', second + 1, third)
  const manifest = readManifest(head.toString('utf8', first + 1, second))
  return {
    manifest,
    verify(fileKey) {
      // As text: a decoder of Base64 passes over what may stand behind it, up to a line end within the first segment.
      const given = Buffer.from(signature, 'latin1')
      const expected = Buffer.from(mac(signed, fileKey).toString('base64'))
      if (given.length !== expected.length || !timingSafeEqual(given, expected)) throw new SignatureError()
    },
    rest,
  }
}

/** Without saying what is wrong: who made the document learns nothing from it. */
function readManifest(json: string): Manifest {
  let raw: unknown
  try {
    raw = JSON.parse(json)
  } catch {
    throw invalid('invalid manifest')
  }
  const { k, kw, wfk, cph, np } = (raw ?? {}) as Record<string, unknown>
  const wrapAlgorithm = nameOf(WRAP_ALGORITHMS, kw)
  const cipher = nameOf(CIPHERS, cph)
  if (!wrapAlgorithm || !cipher || typeof wfk !== 'string' || typeof np !== 'string' || (k !== undefined && typeof k !== 'string'))
    throw invalid('invalid manifest')
  const wrappedKey = Buffer.from(wfk, 'base64')
  const noncePrefix = Buffer.from(np, 'base64')
  if (wrappedKey.length === 0 || noncePrefix.length !== NONCE_PREFIX) throw invalid('invalid manifest')
  return { keyName: k || undefined, wrapAlgorithm, wrappedKey, cipher, noncePrefix }
}

/** The key is another one or the head was changed; which of them is not told. */
export class SignatureError extends Error {
  override readonly name = 'SignatureError'
  constructor(options?: ErrorOptions) {
    super("failed to validate the document's signature", options)
  }
}

function invalid(reason: string): Error {
  return new Error(`invalid header: ${reason}`)
}

function nameOf<T extends Record<string, number>>(table: T, id: unknown): (keyof T & string) | undefined {
  return Object.keys(table).find((name) => table[name] === id)
}

function mac(signed: Buffer, fileKey: Buffer): Buffer {
  return createHmac('sha256', Buffer.from(hkdfSync('sha256', fileKey, Buffer.alloc(0), 'header', 32)))
    .update(signed)
    .digest()
}

import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto'
import { WRAP_ALGORITHMS, type WrapAlgorithm } from './driver.ts'

/** The head of a `dapr.io/enc/v1` document: three lines of text before the binary segments. */
export const SCHEME = 'dapr.io/enc/v1'
/** Longest head that is read, bytes. */
export const HEADER_LIMIT = 64 * 1024

/** How the payload is encrypted, by the ids that documents store. */
export const CIPHERS = { 'aes-gcm': 1, 'chacha20-poly1305': 2 } as const
export type CipherName = keyof typeof CIPHERS

export interface Manifest {
  keyName: string | undefined
  wrapAlgorithm: WrapAlgorithm
  wrappedKey: Buffer
  cipher: CipherName
  noncePrefix: Buffer
}

export function writeHeader(manifest: Manifest, fileKey: Buffer): Buffer {
  const json = JSON.stringify({
    ...(manifest.keyName !== undefined && { k: manifest.keyName }),
    kw: WRAP_ALGORITHMS[manifest.wrapAlgorithm],
    wfk: manifest.wrappedKey.toString('base64'),
    cph: CIPHERS[manifest.cipher],
    np: manifest.noncePrefix.toString('base64'),
  })
  const signed = `${SCHEME}\n${json}\n`
  return Buffer.from(`${signed}${mac(signed, fileKey).toString('base64')}\n`)
}

/** Reads the three lines (without their ends); `verify` is to be called with the unwrapped key before anything is trusted. */
export function readHeader(lines: readonly string[]): { manifest: Manifest; verify(fileKey: Buffer): void } {
  const [scheme, json, signature] = lines as [string, string, string]
  if (scheme !== SCHEME) throw new Error(`invalid header: the document does not start with ${SCHEME}`)
  let raw: unknown
  try {
    raw = JSON.parse(json)
  } catch {
    throw new Error('invalid header: the manifest is not JSON')
  }
  const { k, kw, wfk, cph, np } = (raw ?? {}) as Record<string, unknown>
  const wrapAlgorithm = nameOf(WRAP_ALGORITHMS, kw)
  const cipher = nameOf(CIPHERS, cph)
  const noncePrefix = Buffer.from(String(np), 'base64')
  if (!wrapAlgorithm || !cipher || typeof wfk !== 'string' || noncePrefix.length !== 7)
    throw new Error('invalid header: the manifest is not valid')
  return {
    manifest: {
      keyName: typeof k === 'string' && k !== '' ? k : undefined,
      wrapAlgorithm,
      wrappedKey: Buffer.from(wfk, 'base64'),
      cipher,
      noncePrefix,
    },
    verify(fileKey) {
      const given = Buffer.from(signature, 'base64')
      const expected = mac(`${scheme}\n${json}\n`, fileKey)
      if (given.length !== expected.length || !timingSafeEqual(given, expected))
        throw new Error('invalid header: its signature does not match')
    },
  }
}

function nameOf<T extends Record<string, number>>(table: T, id: unknown): (keyof T & string) | undefined {
  return Object.keys(table).find((name) => table[name] === id)
}

function mac(signed: string, fileKey: Buffer): Buffer {
  return createHmac('sha256', Buffer.from(hkdfSync('sha256', fileKey, Buffer.alloc(0), 'header', 32)))
    .update(signed)
    .digest()
}

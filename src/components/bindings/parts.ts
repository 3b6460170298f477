import { open } from 'node:fs/promises'

/** What is saved: bytes at hand, or a file read piece by piece. */
export type Source = { data: Buffer } | { file: string }

/** Bytes of one piece; the last is shorter. */
export const PART = 8 << 20
const CHUNK = 1 << 20
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/

/** The content in pieces of PART bytes, at least one; decoded from Base64 when asked for, which throws when it is none. */
export async function* partsOf(source: Source, base64: boolean): AsyncGenerator<Buffer> {
  let held: Buffer[] = []
  let size = 0
  let given = false
  for await (const chunk of base64 ? decoded(chunksOf(source)) : chunksOf(source)) {
    let rest = chunk
    while (size + rest.length >= PART) {
      const cut = PART - size
      yield Buffer.concat([...held, rest.subarray(0, cut)])
      given = true
      rest = rest.subarray(cut)
      held = []
      size = 0
    }
    if (rest.length > 0) {
      held.push(rest)
      size += rest.length
    }
  }
  if (size > 0 || !given) yield Buffer.concat(held)
}

async function* chunksOf(source: Source): AsyncGenerator<Buffer> {
  if ('data' in source) {
    // Piece by piece: decoding takes a copy of each as text.
    for (let at = 0; at === 0 || at < source.data.length; at += CHUNK) yield source.data.subarray(at, at + CHUNK)
    return
  }
  await using file = await open(source.file)
  for (;;) {
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(CHUNK))
    if (bytesRead === 0) return
    yield buffer.subarray(0, bytesRead)
  }
}

/** Line ends are passed over; nothing may follow the padding. */
async function* decoded(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let rest = ''
  for await (const chunk of chunks) {
    const text = rest + chunk.toString('latin1').replace(/[\r\n]/g, '')
    // Padding may only stand at the very end: the last group waits for what follows.
    const cut = Math.max(0, text.length - 4 - (text.length % 4))
    rest = text.slice(cut)
    if (cut > 0) yield bytesOf(text.slice(0, cut), false)
  }
  yield bytesOf(rest, true)
}

function bytesOf(text: string, last: boolean): Buffer {
  if (text.length % 4 !== 0 || !BASE64.test(text) || (!last && text.includes('=')))
    throw new Error('illegal base64 data: send decodeBase64 with Base64 content only')
  return Buffer.from(text, 'base64')
}

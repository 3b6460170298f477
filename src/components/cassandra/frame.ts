/** Frames of Cassandra's native protocol, versions 3 and 4 (native_protocol_v4.spec in its sources). */
export const OPCODE = {
  error: 0x00,
  startup: 0x01,
  ready: 0x02,
  authenticate: 0x03,
  query: 0x07,
  result: 0x08,
  prepare: 0x09,
  execute: 0x0a,
  authResponse: 0x0f,
  authSuccess: 0x10,
} as const

export interface Frame {
  stream: number
  opcode: number
  body: Buffer
}

/** A server's refusal. */
export class CassandraError extends Error {
  override readonly name = 'CassandraError'
  readonly code: number
  constructor(code: number, message: string) {
    super(message)
    this.code = code
  }
}

const HEAD = 9
/** The server's own limit (native_transport_max_frame_size) is 16 MiB by default; whoever sends more is no Cassandra. */
const LARGEST = 256 << 20
const ANSWER = 0x80
const ROWS = 2
const PREPARED = 4

export function frame(version: number, stream: number, opcode: number, ...body: Buffer[]): Buffer {
  const head = Buffer.alloc(HEAD)
  head[0] = version
  head.writeInt16BE(stream, 2)
  head[4] = opcode
  head.writeInt32BE(
    body.reduce((sum, part) => sum + part.length, 0),
    5,
  )
  return Buffer.concat([head, ...body])
}

/** `[string]`, or with 4 bytes of length `[long string]` and `[bytes]`. */
export function sized(content: string | Buffer, bytes: 2 | 4): Buffer {
  const text = Buffer.from(content as string)
  const length = Buffer.alloc(bytes)
  length.writeUIntBE(text.length, 0, bytes)
  return Buffer.concat([length, text])
}

export function short(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff])
}

/** Takes bytes as they come and gives whole frames. Throws on what is no answer of this protocol. */
export class FrameReader {
  readonly #take: (frame: Frame) => void
  #held: Buffer[] = []
  #length = 0
  #wanted = HEAD

  constructor(take: (frame: Frame) => void) {
    this.#take = take
  }

  push(chunk: Buffer): void {
    this.#held.push(chunk)
    this.#length += chunk.length
    while (this.#length >= this.#wanted) {
      const all = this.#held.length === 1 ? (this.#held[0] as Buffer) : Buffer.concat(this.#held)
      const version = all[0] as number
      const size = all.readInt32BE(5)
      if (!(version & ANSWER) || size < 0 || size > LARGEST) throw new Error('the server does not speak the native protocol of Cassandra')
      const end = HEAD + size
      this.#held = [all]
      this.#wanted = end
      if (all.length < end) return
      const rest = all.subarray(end)
      this.#held = rest.length ? [rest] : []
      this.#length = rest.length
      this.#wanted = HEAD
      this.#take({ stream: all.readInt16BE(2), opcode: all[4] as number, body: all.subarray(HEAD, end) })
    }
  }
}

/** The refusal in an ERROR's body. */
export function readError(body: Buffer): CassandraError {
  return new CassandraError(body.readInt32BE(0), body.toString('utf8', 6, 6 + body.readUInt16BE(4)))
}

/** The id in the RESULT of a PREPARE. */
export function readPrepared(body: Buffer): Buffer {
  if (body.readInt32BE(0) !== PREPARED) throw new Error('no prepared statement in the answer')
  return Buffer.from(body.subarray(6, 6 + body.readUInt16BE(4)))
}

/** Rows of a RESULT that was asked for without metadata: their values in the order of the statement; null: none. */
export function readRows(body: Buffer): (Buffer | null)[][] {
  if (body.readInt32BE(0) !== ROWS) return []
  const [flags, columns] = [body.readInt32BE(4), body.readInt32BE(8)]
  if (!(flags & 0x04)) throw new Error('rows with metadata that nobody asked for')
  let at = 12
  // More pages than one do not come about: no statement here has a page size.
  if (flags & 0x02) at += 4 + body.readInt32BE(at)
  const count = body.readInt32BE(at)
  at += 4
  return Array.from({ length: count }, () =>
    Array.from({ length: columns }, () => {
      const length = body.readInt32BE(at)
      at += 4
      if (length < 0) return null
      at += length
      return body.subarray(at - length, at)
    }),
  )
}

import { BsonError, type Document, encode } from './bson.ts'
import { decode } from './bson-read.ts'

/** OP_MSG, what MongoDB's wire protocol consists of since 3.6 (mongodb.com/docs/manual/reference/mongodb-wire-protocol). */
const OP_MSG = 2013
const HEAD = 16
/** Flags and the kind of the only section stand before the document. */
const AHEAD = HEAD + 4 + 1
/** What a server takes and sends at most, says its maxMessageSizeBytes; whoever sends more is no MongoDB. */
export const LARGEST = 48_000_000
const CHECKSUM = 1
/** Flags that a reader has to know; those above may be ignored. */
const REQUIRED = 0xffff

export interface Reply {
  /** The id of the message that it answers. */
  to: number
  document: Record<string, unknown>
}

/** A command as bytes. */
export function message(id: number, command: Document): Buffer {
  const bytes = encode(command, AHEAD)
  bytes.writeInt32LE(bytes.length, 0)
  bytes.writeInt32LE(id, 4)
  bytes.writeInt32LE(0, 8)
  bytes.writeInt32LE(OP_MSG, 12)
  bytes.fill(0, HEAD, AHEAD)
  return bytes
}

/** Takes bytes as they come and gives whole replies. Throws on what is no reply of this protocol. */
export class ReplyReader {
  readonly #take: (reply: Reply) => void
  #held: Buffer[] = []
  #length = 0
  #wanted = HEAD

  constructor(take: (reply: Reply) => void) {
    this.#take = take
  }

  push(chunk: Buffer): void {
    this.#held.push(chunk)
    this.#length += chunk.length
    while (this.#length >= this.#wanted) {
      const all = this.#held.length === 1 ? (this.#held[0] as Buffer) : Buffer.concat(this.#held)
      const size = all.readInt32LE(0)
      if (size <= AHEAD || size > LARGEST || all.readInt32LE(12) !== OP_MSG)
        throw new BsonError('the server does not speak the protocol of MongoDB 3.6 and later')
      this.#held = [all]
      this.#wanted = size
      if (all.length < size) return
      const rest = all.subarray(size)
      this.#held = rest.length ? [rest] : []
      this.#length = rest.length
      this.#wanted = HEAD
      this.#take(read(all, size))
    }
  }
}

function read(bytes: Buffer, size: number): Reply {
  const flags = bytes.readUInt32LE(HEAD)
  if (flags & REQUIRED & ~CHECKSUM) throw new BsonError('a reply has flags that nobody asked for')
  if (bytes[AHEAD - 1] !== 0) throw new BsonError('a reply begins with what is no document')
  return { to: bytes.readInt32LE(8), document: decode(bytes, AHEAD, flags & CHECKSUM ? size - 4 : size) }
}

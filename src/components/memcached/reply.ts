/** One answer of a memcached server: the line, and the value where the line announces one. */
export interface MemcachedReply {
  line: string
  value?: Buffer
}

/** The server broke the protocol; the connection is of no more use. */
export class MemcachedProtocolError extends Error {
  override readonly name = 'MemcachedProtocolError'
}

const NEWLINE = 0x0a
const LONGEST_LINE = 4096
/** The largest item that a server can be told to take (-I). */
const LARGEST_VALUE = 1024 * 1024 * 1024
const END = Buffer.from('\r\nEND\r\n')

/** Cuts what arrives into answers, in their order: `VALUE key flags bytes` with its data and END as one, any other line alone. */
export class MemcachedReplyReader {
  readonly #onReply: (reply: MemcachedReply) => void
  #chunks: Buffer[] = []
  #size = 0
  /** Bytes without which nothing more can be read. */
  #wanted = 1

  constructor(onReply: (reply: MemcachedReply) => void) {
    this.#onReply = onReply
  }

  /** Throws MemcachedProtocolError. */
  push(chunk: Buffer): void {
    this.#chunks.push(chunk)
    this.#size += chunk.length
    if (this.#size < this.#wanted) return
    let bytes = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks, this.#size)
    this.#wanted = 1
    while (bytes.length > 0) {
      const used = this.#read(bytes)
      if (used === 0) break
      bytes = bytes.subarray(used)
    }
    this.#chunks = bytes.length > 0 ? [bytes] : []
    this.#size = bytes.length
  }

  /** Bytes of the first answer; 0 when it is not all there. */
  #read(bytes: Buffer): number {
    const newline = bytes.indexOf(NEWLINE)
    if (newline < 0) {
      if (bytes.length > LONGEST_LINE) throw new MemcachedProtocolError('the answer is no line: is this a memcached server?')
      return 0
    }
    const line = bytes.toString('latin1', 0, newline > 0 && bytes[newline - 1] === 0x0d ? newline - 1 : newline)
    if (!line.startsWith('VALUE ')) {
      this.#onReply({ line })
      return newline + 1
    }
    const length = Number(line.split(' ')[3])
    if (!Number.isInteger(length) || length < 0 || length > LARGEST_VALUE)
      throw new MemcachedProtocolError('the answer announces no length of its value')
    const start = newline + 1
    const end = start + length + END.length
    if (bytes.length < end) {
      this.#wanted = end
      return 0
    }
    if (!bytes.subarray(start + length, end).equals(END)) throw new MemcachedProtocolError('the value is longer than announced')
    this.#onReply({ line, value: Buffer.from(bytes.subarray(start, start + length)) })
    return end
  }
}

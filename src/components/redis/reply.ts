import type { Socket } from 'node:net'

/** One reply of a Redis server: bulk strings as bytes, errors as values so that they can stand inside arrays. */
export type Reply = string | number | Buffer | null | RedisReplyError | Reply[]

/** An error that the server answered, e.g. `WRONGTYPE Operation against a key …`. */
export class RedisReplyError extends Error {
  override readonly name = 'RedisReplyError'
}

/** The server sent what is not RESP2, or more than we hold. */
export class RedisProtocolError extends Error {
  override readonly name = 'RedisProtocolError'
}

/** Bytes of one reply. Redis itself stops a string at 512 MiB. */
const MAX_REPLY = 1 << 30
const MAX_DEPTH = 32
const CR = 13
const INCOMPLETE = Symbol('incomplete')

/** Cuts a byte stream into RESP2 replies. Throws RedisProtocolError; the stream is of no use after that. */
export class ReplyParser {
  readonly #onReply: (reply: Reply) => void
  #rest: Buffer[] = []
  #size = 0
  /** Bytes that the unfinished reply has at least, so that a long one is looked at once and not at each chunk. */
  #need = 0
  #buffer: Buffer = Buffer.alloc(0)
  #at = 0

  constructor(onReply: (reply: Reply) => void) {
    this.#onReply = onReply
  }

  push(chunk: Buffer): void {
    if (this.#size > 0) {
      this.#rest.push(chunk)
      this.#size += chunk.length
      if (this.#size < this.#need) return
      chunk = Buffer.concat(this.#rest, this.#size)
      this.#rest = []
      this.#size = 0
    }
    this.#buffer = chunk
    this.#at = 0
    let begun = 0
    while (begun < chunk.length) {
      this.#need = 0
      const reply = this.#read(0)
      if (reply === INCOMPLETE) break
      begun = this.#at
      this.#onReply(reply)
    }
    this.#buffer = EMPTY
    if (begun < chunk.length) {
      this.#rest = [begun === 0 ? chunk : chunk.subarray(begun)]
      this.#size = chunk.length - begun
      this.#need = Math.max(this.#need - begun, this.#size + 1)
      if (this.#need > MAX_REPLY) throw new RedisProtocolError(`a reply of more than ${MAX_REPLY} bytes`)
    }
  }

  #line(): string | typeof INCOMPLETE {
    const start = this.#at
    const end = this.#buffer.indexOf(CR, start)
    if (end < 0 || end + 1 >= this.#buffer.length) return INCOMPLETE
    this.#at = end + 2
    return this.#buffer.toString('latin1', start, end)
  }

  /** The digits up to CRLF; faster than going through a string. */
  #integer(): number | typeof INCOMPLETE {
    const buffer = this.#buffer
    let at = this.#at
    const negative = buffer[at] === 45
    if (negative || buffer[at] === 43) at++
    let value = 0
    for (; at < buffer.length; at++) {
      const byte = buffer[at] as number
      if (byte === CR) {
        if (at + 1 >= buffer.length) return INCOMPLETE
        this.#at = at + 2
        return negative ? -value : value
      }
      if (byte < 48 || byte > 57) throw new RedisProtocolError(`byte ${byte} inside a number`)
      value = value * 10 + byte - 48
    }
    return INCOMPLETE
  }

  #read(depth: number): Reply | typeof INCOMPLETE {
    const buffer = this.#buffer
    if (this.#at >= buffer.length) return INCOMPLETE
    const type = buffer[this.#at++]
    switch (type) {
      case 36: {
        const length = this.#integer()
        if (length === INCOMPLETE) return INCOMPLETE
        if (length < 0) return null
        const end = this.#at + length
        if (end + 2 > buffer.length) {
          this.#need = end + 2
          return INCOMPLETE
        }
        const bytes = buffer.subarray(this.#at, end)
        this.#at = end + 2
        return bytes
      }
      case 43:
        return this.#line()
      case 58:
        return this.#integer()
      case 45: {
        const line = this.#line()
        return line === INCOMPLETE ? INCOMPLETE : new RedisReplyError(Buffer.from(line, 'latin1').toString())
      }
      case 42: {
        const length = this.#integer()
        if (length === INCOMPLETE) return INCOMPLETE
        if (length < 0) return null
        if (depth >= MAX_DEPTH) throw new RedisProtocolError(`arrays nested deeper than ${MAX_DEPTH}`)
        const items: Reply[] = []
        for (let index = 0; index < length; index++) {
          const item = this.#read(depth + 1)
          if (item === INCOMPLETE) return INCOMPLETE
          items.push(item)
        }
        return items
      }
      default:
        throw new RedisProtocolError(`a reply cannot begin with byte ${type}`)
    }
  }
}

const EMPTY = Buffer.alloc(0)

/** A reply with all bytes as text. */
export function asText(reply: Reply): string | number | null | RedisReplyError | unknown[] {
  if (Buffer.isBuffer(reply)) return reply.toString()
  return Array.isArray(reply) ? reply.map(asText) : reply
}

/** Hands on the replies that a connection brings; what is none ends it. */
export function readReplies(socket: Socket, onReply: (reply: Reply) => void): void {
  const parser = new ReplyParser(onReply)
  socket.on('data', (chunk: Buffer) => {
    try {
      parser.push(chunk)
    } catch (error) {
      socket.destroy(error as Error)
    }
  })
}

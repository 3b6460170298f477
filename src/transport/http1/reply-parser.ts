import { pieceOf } from '../pieces.ts'
import { ChunkedBody } from './chunked-body.ts'
import { HttpCallError, malformed } from './errors.ts'
import { CHUNKED, parseHead, type ReplyHead, UNTIL_CLOSE } from './reply-head.ts'

/** Hears one reply: `onHead`, any number of `onBody`, `onEnd`. */
export interface ReplyEvents {
  /** `whole`: a body of declared length is there to its end already. */
  onHead(head: ReplyHead, whole: boolean): void
  onBody(chunk: Buffer): void
  /** `clean`: the next reply begins with the next byte of the connection, and the server keeps it open. `trailers`: names and values in turn. */
  onEnd(clean: boolean, trailers: readonly string[]): void
}

export interface ParserLimits {
  /** Bytes of a head, and of the trailers of a body in chunks. */
  maxHeaderSize: number
  /**
   * A body that the server ends before its declared length counts as whole if it has at most this many bytes; 0: none does.
   * Apps may declare wrong lengths, and what they meant to say is there.
   */
  shortBodies: number
}

const IDLE = 0
const HEAD = 1
const FIXED = 2
const CHUNKS = 3
const CLOSING = 4
const STOPPED = 5

/** Interim replies before one reply: more are an attack. */
const MAX_INTERIM = 32
/** Bytes that are looked at first for the end of a head: most are shorter. */
const FIRST_LOOK = 2048
/** An end of a line without CR or a CR without LF, or a control character. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const BROKEN = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]|[^\r]\n|\r[^\n]/

/**
 * Reads the replies of one connection, whatever the pieces they come in: idle → head → body (of a length, in chunks, or until
 * the connection ends) → idle. Throws HttpCallError EPROTO on bytes that are no reply; the connection is lost then.
 */
export class ReplyParser {
  readonly #events: ReplyEvents
  readonly #limits: ParserLimits
  readonly #chunks: ChunkedBody
  #state = IDLE
  #bodiless = false
  #declared = 0
  #remaining = 0
  #interim = 0
  #keepAlive = false
  /** A head that is not complete, and its last three characters: its end may lie across the seam. */
  #partial = ''
  #tail = ''

  constructor(events: ReplyEvents, limits: ParserLimits) {
    this.#events = events
    this.#limits = limits
    this.#chunks = new ChunkedBody(events, limits.maxHeaderSize)
  }

  /** A request goes out: its reply is expected. `bodiless`: it asks with HEAD. */
  begin(bodiless: boolean): void {
    this.#state = HEAD
    this.#bodiless = bodiless
    this.#chunks.stop()
    this.#interim = 0
  }

  /** Nothing more is read or told. */
  stop(): void {
    this.#state = STOPPED
    this.#chunks.stop()
  }

  /** Takes `length` bytes of `buffer`. `shared`: its memory is used again afterwards, so bodies are copied. */
  push(buffer: Buffer, length: number, shared: boolean): void {
    let at = 0
    while (at < length) {
      switch (this.#state) {
        case HEAD:
          at = this.#head(buffer, at, length)
          break
        case FIXED: {
          const size = Math.min(this.#remaining, length - at)
          this.#remaining -= size
          const chunk = taken(buffer, at, at + size, shared)
          at += size
          this.#events.onBody(chunk)
          if (this.#remaining === 0 && this.#state === FIXED) return this.#end(at === length)
          break
        }
        case CHUNKS:
          at = this.#chunks.push(buffer, at, length, shared)
          if (this.#chunks.done && this.#state === CHUNKS) return this.#end(at === length)
          break
        case CLOSING:
          return this.#events.onBody(taken(buffer, at, length, shared))
        case STOPPED:
          return
        default:
          throw malformed('bytes that nobody asked for')
      }
    }
  }

  /** The server has ended the connection. Throws where a reply is cut off by that. */
  eof(): void {
    switch (this.#state) {
      case CLOSING:
        return this.#end(false)
      case FIXED:
        if (this.#limits.shortBodies > 0 && this.#declared - this.#remaining <= this.#limits.shortBodies) return this.#end(false)
        throw new HttpCallError('ECONNRESET', `the server closed the connection ${this.#remaining} bytes before the end of its reply`)
      case CHUNKS:
        throw new HttpCallError('ECONNRESET', 'the server closed the connection in the middle of its reply')
      case HEAD:
        throw new HttpCallError('ECONNRESET', 'the server closed the connection before it answered')
    }
  }

  #end(rest: boolean): void {
    this.#state = IDLE
    this.#events.onEnd(rest && this.#keepAlive, this.#chunks.trailers)
  }

  /** Returns where the head ends, or `length`. */
  #head(buffer: Buffer, at: number, length: number): number {
    if (this.#partial !== '') return this.#headAcross(buffer, at, length)
    let text = buffer.toString('latin1', at, Math.min(length, at + FIRST_LOOK))
    let stop = text.indexOf('\r\n\r\n')
    if (stop < 0 && length - at > FIRST_LOOK) {
      text = buffer.toString('latin1', at, Math.min(length, at + this.#limits.maxHeaderSize + 4))
      stop = text.indexOf('\r\n\r\n')
    }
    if (stop < 0) return this.#headAcross(buffer, at, length)
    if (stop > this.#limits.maxHeaderSize) throw this.#tooLarge()
    this.#take(text.slice(0, stop + 2), length - at - stop - 4)
    return at + stop + 4
  }

  #headAcross(buffer: Buffer, at: number, length: number): number {
    const { maxHeaderSize } = this.#limits
    const seam = this.#partial.length
    const text = buffer.toString('latin1', at, Math.min(length, at + maxHeaderSize + 4))
    const joined = this.#tail + text
    const found = joined.indexOf('\r\n\r\n')
    const consumed = found < 0 ? text.length : found + 4 - this.#tail.length
    if (seam + consumed > maxHeaderSize + 4 || (found < 0 && at + text.length < length)) throw this.#tooLarge()
    this.#partial += text.slice(0, consumed)
    if (found >= 0) {
      const whole = this.#partial.slice(0, -2)
      this.#partial = this.#tail = ''
      this.#take(whole, length - at - consumed)
      return at + consumed
    }
    // A server that never ends a line rightly would be waited for: it is told apart as soon as it shows.
    if (BROKEN.test(joined)) throw malformed('a line without CR LF, or a control character in the head')
    if (seam < 7 && !'HTTP/1.'.startsWith(this.#partial.slice(0, 7))) throw malformed('no status line')
    this.#tail = joined.slice(-3)
    return length
  }

  #take(text: string, available: number): void {
    const head = parseHead(text)
    const { status } = head
    if (status < 200 && status !== 101) {
      if (++this.#interim > MAX_INTERIM) throw malformed('too many interim replies')
      return
    }
    this.#keepAlive = head.keepAlive && status !== 101
    const empty = this.#bodiless || status === 204 || status === 304 || status === 101 || head.length === 0
    this.#state = empty ? FIXED : head.length === CHUNKED ? CHUNKS : head.length === UNTIL_CLOSE ? CLOSING : FIXED
    this.#declared = this.#remaining = empty ? 0 : head.length
    if (this.#state === CHUNKS) this.#chunks.begin()
    this.#events.onHead(head, empty || (head.length >= 0 && available >= head.length))
    if (empty && this.#state === FIXED) this.#end(available === 0)
  }

  #tooLarge(): HttpCallError {
    return malformed(`more than ${this.#limits.maxHeaderSize} bytes of headers`)
  }
}

/** Bytes to keep. */
export function taken(buffer: Buffer, from: number, to: number, shared: boolean): Buffer {
  const bytes = from === 0 && to === buffer.length ? buffer : buffer.subarray(from, to)
  return shared ? pieceOf(bytes) : bytes
}

import { ChunkedBody } from './chunked-body.ts'
import { BadRequest, type IncomingHead, parseIncoming } from './incoming-head.ts'
import { CHUNKED } from './reply-head.ts'
import { taken } from './reply-parser.ts'
import { NO_TRAILERS } from './trailers.ts'

/** Hears one request at a time: `onHead`, then, unless the body came with it, any number of `onBody` and `onEnd`. */
export interface RequestEvents {
  /** `body`: all of it, where it is short and there already; undefined without one, or when it is still to come. */
  onHead(head: IncomingHead, body: Buffer | undefined): void
  onBody(chunk: Buffer): void
  /** `trailers`: names in lower case and values in turn. */
  onEnd(trailers: readonly string[]): void
}

const HEAD = 0
const FIXED = 1
const CHUNKS = 2
const DONE = 3

/** A body up to this size that came with its head is given with it. */
const WITH_HEAD = 65_536
/** Bytes that are looked at first for the end of a head: most are shorter. */
const FIRST_LOOK = 2048
/** A line without CR, or a control character. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const BROKEN = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]|[^\r]\n|\r[^\n]/

/** Reads the requests of one connection, whatever the pieces they come in: head → body → done → (`next`) head. */
export class RequestParser {
  readonly #events: RequestEvents
  readonly #maxHeaderSize: number
  readonly #chunks: ChunkedBody
  #state = HEAD
  #remaining = 0
  /** A head that is not complete. */
  #partial = ''

  constructor(events: RequestEvents, maxHeaderSize: number) {
    this.#events = events
    this.#maxHeaderSize = maxHeaderSize
    this.#chunks = new ChunkedBody(events, maxHeaderSize)
  }

  /** A request has begun to come. */
  get begun(): boolean {
    return this.#state !== HEAD || this.#partial !== ''
  }

  /** The whole request is read: what comes after it is another. */
  get done(): boolean {
    return this.#state === DONE
  }

  next(): void {
    this.#state = HEAD
  }

  /**
   * Takes bytes of `buffer` between `from` and `length`, to the end of one request at most; returns where it stopped. `shared`: its memory
   * is used again afterwards, so bodies are copied. Throws BadRequest or HttpCallError.
   */
  push(buffer: Buffer, from: number, length: number, shared: boolean): number {
    let at = from
    while (at < length && this.#state !== DONE) {
      if (this.#state === HEAD) at = this.#head(buffer, at, length, shared)
      else if (this.#state === FIXED) {
        const size = Math.min(this.#remaining, length - at)
        this.#remaining -= size
        if (this.#remaining === 0) this.#state = DONE
        const piece = taken(buffer, at, at + size, shared)
        at += size
        this.#events.onBody(piece)
        if (this.#remaining === 0) this.#events.onEnd(NO_TRAILERS)
      } else {
        at = this.#chunks.push(buffer, at, length, shared)
        if (!this.#chunks.done) continue
        this.#state = DONE
        this.#events.onEnd(this.#chunks.trailers)
      }
    }
    return at
  }

  #head(buffer: Buffer, from: number, length: number, shared: boolean): number {
    let at = from
    const max = this.#maxHeaderSize
    if (this.#partial === '') {
      // Some clients end a body with a line of its own: https://www.rfc-editor.org/rfc/rfc9112#section-2.2
      while (at < length && (buffer[at] === 13 || buffer[at] === 10)) at++
      if (at === length) return at
      let text = buffer.toString('latin1', at, Math.min(length, at + FIRST_LOOK))
      let stop = text.indexOf('\r\n\r\n')
      if (stop < 0 && length - at > FIRST_LOOK) {
        text = buffer.toString('latin1', at, Math.min(length, at + max + 4))
        stop = text.indexOf('\r\n\r\n')
      }
      if (stop >= 0) {
        if (stop > max) throw tooLarge(max)
        return this.#take(text.slice(0, stop + 2), buffer, at + stop + 4, length, shared)
      }
    }
    const seam = this.#partial.length
    const text = buffer.toString('latin1', at, Math.min(length, at + max + 4))
    this.#partial += text
    const stop = this.#partial.indexOf('\r\n\r\n', Math.max(0, seam - 3))
    if (stop > max || (stop < 0 && this.#partial.length > max)) throw tooLarge(max)
    if (stop < 0) {
      // What can become no request is told apart as soon as it shows.
      if (BROKEN.test(this.#partial)) throw new BadRequest(400, 'a line without CR LF, or a control character in the head')
      return length
    }
    const head = this.#partial.slice(0, stop + 2)
    this.#partial = ''
    return this.#take(head, buffer, at + stop + 4 - seam, length, shared)
  }

  /** Returns where the head, or the body that came with it, ends. */
  #take(text: string, buffer: Buffer, at: number, length: number, shared: boolean): number {
    const head = parseIncoming(text)
    if (head.length === 0) {
      this.#state = DONE
      this.#events.onHead(head, undefined)
      return at
    }
    if (head.length > 0 && head.length <= WITH_HEAD && head.length <= length - at) {
      this.#state = DONE
      this.#events.onHead(head, taken(buffer, at, at + head.length, shared))
      return at + head.length
    }
    if (head.length === CHUNKED) {
      this.#state = CHUNKS
      this.#chunks.begin()
    } else {
      this.#state = FIXED
      this.#remaining = head.length
    }
    this.#events.onHead(head, undefined)
    return at
  }
}

function tooLarge(max: number): BadRequest {
  return new BadRequest(431, `more than ${max} bytes of headers`)
}

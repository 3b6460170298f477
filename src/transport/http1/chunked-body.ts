import { pieceOf } from '../pieces.ts'
import { malformed } from './errors.ts'
import { isToken } from './field-names.ts'
import { mayTrail, NO_TRAILERS } from './trailers.ts'

/** Hears the data of a body in chunks. */
interface BodyEvents {
  onBody(chunk: Buffer): void
}

const SIZE = 0
const EXTENSION = 1
const SIZE_LF = 2
const DATA = 3
const DATA_CR = 4
const DATA_LF = 5
const TRAILER = 6
const FIELD = 7
const TRAILER_LF = 8
const LAST_LF = 9
const DONE = 10

const CR = 13
const LF = 10
/** Digits of one size: 2^52 bytes. */
const MAX_DIGITS = 13
/** Bytes of the extensions of one chunk. */
const MAX_EXTENSION = 4096

/** Takes the chunks of one body apart, RFC 9112 section 7.1: size (extension) CRLF data CRLF …, 0 CRLF, trailers, CRLF. */
export class ChunkedBody {
  readonly #events: BodyEvents
  readonly #maxTrailers: number
  #state = DONE
  #remaining = 0
  #digits = 0
  #extra = 0
  #line = ''
  /** Names in lower case and values in turn of what came after the last chunk and may stand there. */
  trailers: readonly string[] = NO_TRAILERS

  constructor(events: BodyEvents, maxTrailers: number) {
    this.#events = events
    this.#maxTrailers = maxTrailers
  }

  get done(): boolean {
    return this.#state === DONE
  }

  begin(): void {
    this.#state = SIZE
    this.#remaining = this.#digits = this.#extra = 0
    this.#line = ''
    this.trailers = NO_TRAILERS
  }

  stop(): void {
    this.#state = DONE
    this.trailers = NO_TRAILERS
  }

  /** Takes bytes of `buffer` from `at`. Returns where the body ends, or `length`. */
  push(buffer: Buffer, from: number, length: number, shared: boolean): number {
    let at = from
    while (at < length) {
      if (this.#state === DATA) {
        const size = Math.min(this.#remaining, length - at)
        this.#remaining -= size
        if (this.#remaining === 0) this.#state = DATA_CR
        const piece = buffer.subarray(at, at + size)
        at += size
        this.#events.onBody(shared ? pieceOf(piece) : piece)
      } else this.#byte(buffer[at++] as number)
      if (this.#state === DONE) return at
    }
    return at
  }

  #byte(byte: number): void {
    switch (this.#state) {
      case SIZE:
        return this.#size(byte)
      case EXTENSION:
        if (byte === CR) this.#state = SIZE_LF
        else if (++this.#extra > MAX_EXTENSION || !isText(byte)) throw malformed('the extension of a chunk')
        return
      case SIZE_LF:
        if (byte !== LF) throw malformed('a chunk size without CR LF')
        this.#extra = 0
        this.#digits = 0
        this.#state = this.#remaining === 0 ? TRAILER : DATA
        return
      case DATA_CR:
        if (byte !== CR) throw malformed('a chunk longer than its size')
        this.#state = DATA_LF
        return
      case DATA_LF:
        if (byte !== LF) throw malformed('a chunk longer than its size')
        this.#state = SIZE
        return
      case TRAILER:
        if (byte === CR) this.#state = LAST_LF
        else if (byte === 32 || byte === 9) throw malformed('a folded trailer')
        else this.#field(byte)
        return
      case FIELD:
        return this.#field(byte)
      case TRAILER_LF:
        if (byte !== LF) throw malformed('a trailer without CR LF')
        this.#state = TRAILER
        return
      default:
        if (byte !== LF) throw malformed('trailers without CR LF')
        this.#state = DONE
    }
  }

  #size(byte: number): void {
    const digit = hexDigit(byte)
    if (digit >= 0) {
      if (++this.#digits > MAX_DIGITS) throw malformed('a chunk size of too many digits')
      this.#remaining = this.#remaining * 16 + digit
    } else if (this.#digits === 0) throw malformed('a chunk without a size')
    else if (byte === CR) this.#state = SIZE_LF
    else if (byte === 59 || byte === 32 || byte === 9) this.#state = EXTENSION
    else throw malformed('a chunk size')
  }

  #field(byte: number): void {
    if (byte === CR) {
      this.#state = TRAILER_LF
      this.#add(this.#line)
      this.#line = ''
    } else if (++this.#extra > this.#maxTrailers || !isText(byte)) throw malformed('the trailers')
    else {
      this.#state = FIELD
      this.#line += String.fromCharCode(byte)
    }
  }

  #add(line: string): void {
    const colon = line.indexOf(':')
    const name = line.slice(0, Math.max(0, colon)).toLowerCase()
    if (!isToken(name)) throw malformed('a trailer without a name')
    if (!mayTrail(name)) return
    this.trailers = [...this.trailers, name, line.slice(colon + 1).trim()]
  }
}

function hexDigit(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48
  const letter = byte | 32
  return letter >= 97 && letter <= 102 ? letter - 87 : -1
}

function isText(byte: number): boolean {
  return byte === 9 || (byte >= 32 && byte !== 127)
}

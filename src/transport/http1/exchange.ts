import type { IncomingHttpHeaders } from 'node:http'
import type { Readable } from 'node:stream'
import { HttpCallError } from './errors.ts'
import { NO_TRAILERS } from './trailers.ts'

/** What a pool is asked to send. */
export interface HttpRequest {
  method: string
  /** Percent-encoded path with leading slash, query included. */
  path: string
  /** By name, or a flat `[name, value, name, value]` list. Framing and connection are the client's own: such fields are left out. */
  headers: Readonly<Record<string, string | readonly string[]>> | readonly string[]
  /** A stream goes out in chunks unless a Content-Length is among the headers. */
  body?: Buffer | Readable | undefined
  /** What comes after a streamed body of no declared length, asked when that has ended: names and values in turn. */
  trailers?: (() => readonly string[]) | undefined
  /** The reply may have trailers. */
  takesTrailers?: boolean
}

/** What carries an exchange out: a connection, or a pool's queue. */
export interface Carrier {
  pause(): void
  resume(): void
  /** The exchange has been given up. */
  drop(exchange: Exchange): void
}

/**
 * One request and its reply: waiting → carried → over. Whoever asks extends it with what to do with the reply; one object is
 * request, listener and handle, because this is made for every call.
 */
export abstract class Exchange {
  readonly request: HttpRequest
  carrier: Carrier | undefined
  over = false
  /** It has been sent on a connection that was used before and had ended; there is no second time. */
  retried = false

  constructor(request: HttpRequest) {
    this.request = request
  }

  /** The reply begins. Content-Length is among the headers only where it is known to be true. */
  protected abstract head(status: number, headers: IncomingHttpHeaders, reason: string): void
  protected abstract data(chunk: Buffer): void
  /** `trailers`: names in lower case and values in turn. */
  protected abstract end(trailers: readonly string[]): void
  /** Before `head`: nothing was answered. After it: the body is cut short. */
  protected abstract failed(error: Error): void
  /** It is over, for whatever reason; what it held can be given back. Comes before `end` and `failed`. */
  protected finished(): void {}

  onHead(status: number, headers: IncomingHttpHeaders, reason = ''): void {
    if (!this.over) this.head(status, headers, reason)
  }

  onData(chunk: Buffer): void {
    if (!this.over) this.data(chunk)
  }

  onEnd(trailers: readonly string[] = NO_TRAILERS): void {
    if (!this.#finish()) return
    this.end(trailers)
  }

  onError(error: Error): void {
    if (!this.#finish()) return
    this.failed(error)
  }

  /** No more data comes, but for what has been read already. */
  pause(): void {
    this.carrier?.pause()
  }

  resume(): void {
    this.carrier?.resume()
  }

  /** Ends it at once with an error: what it sends cannot be had. */
  fail(error: Error): void {
    const { carrier } = this
    if (this.over) return
    this.carrier = undefined
    carrier?.drop(this)
    this.onError(error)
  }

  /** Ends it at once; nothing more is heard of it. Returns whether there was something to end. */
  abort(_reason?: Error): boolean {
    const { carrier } = this
    if (!this.#finish()) return false
    carrier?.drop(this)
    return true
  }

  #finish(): boolean {
    if (this.over) return false
    this.over = true
    this.carrier = undefined
    this.finished()
    return true
  }
}

/** The reason where none was given. */
export function givenUp(): HttpCallError {
  return new HttpCallError('ECANCELED', 'the request was given up')
}

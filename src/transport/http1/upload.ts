import type { Socket } from 'node:net'
import type { Readable } from 'node:stream'
import { giveBack, isPiece } from '../pieces.ts'
import { HttpCallError } from './errors.ts'
import type { HttpRequest } from './exchange.ts'
import { lastChunk, NO_TRAILERS } from './trailers.ts'

/** Sends a streamed body, no faster than the socket takes it: flowing ⇄ held → done, or stopped. Errors of the body are the exchange's. */
export class Upload {
  readonly #socket: Socket
  readonly #body: Readable
  readonly #chunked: boolean
  readonly #onFailure: (error: Error) => void
  readonly #request: HttpRequest
  #remaining: number
  #held = false
  done = false

  /** `length` in bytes; -1: in chunks. */
  constructor(socket: Socket, request: HttpRequest, body: Readable, length: number, onFailure: (error: Error) => void) {
    this.#socket = socket
    this.#request = request
    this.#body = body
    this.#chunked = length < 0
    this.#remaining = length
    this.#onFailure = onFailure
  }

  start(): void {
    const body = this.#body
    if (body.errored || body.destroyed || body.readableEnded)
      return this.#onFailure(body.errored ?? new HttpCallError('EINVAL', 'the request body has been read or closed already'))
    body.on('data', this.#data)
    body.on('end', this.#ended)
    body.on('close', this.#closed)
    this.#socket.on('drain', this.#drained)
  }

  /** Sends no more. What is still to come of the body is read and dropped, so that who sends it can come to its end. */
  stop(): void {
    if (this.done) return
    this.#unhook()
    this.#body.resume()
  }

  #unhook(): void {
    this.done = true
    this.#body.off('data', this.#data)
    this.#body.off('end', this.#ended)
    this.#body.off('close', this.#closed)
    this.#socket.off('drain', this.#drained)
  }

  #fail(error: Error): void {
    if (this.done) return
    this.stop()
    this.#onFailure(error)
  }

  readonly #data = (given: Buffer | string): void => {
    const chunk = typeof given === 'string' ? Buffer.from(given) : given
    if (chunk.length === 0) return
    const socket = this.#socket
    const sent = isPiece(chunk) ? () => giveBack(chunk) : undefined
    let room: boolean
    if (this.#chunked) {
      socket.cork()
      socket.write(`${chunk.length.toString(16)}\r\n`, 'latin1')
      socket.write(chunk, sent)
      room = socket.write('\r\n', 'latin1')
      socket.uncork()
    } else {
      this.#remaining -= chunk.length
      if (this.#remaining < 0) return this.#fail(new HttpCallError('EINVAL', 'the request body is longer than its Content-Length'))
      room = socket.write(chunk, sent)
    }
    if (room || this.#held) return
    this.#held = true
    this.#body.pause()
  }

  readonly #drained = (): void => {
    if (!this.#held) return
    this.#held = false
    this.#body.resume()
  }

  readonly #ended = (): void => {
    if (this.#remaining > 0)
      return this.#fail(new HttpCallError('EINVAL', `the request body is ${this.#remaining} bytes shorter than its Content-Length`))
    let last = ''
    try {
      if (this.#chunked) last = lastChunk(this.#request.trailers?.() ?? NO_TRAILERS)
    } catch (error) {
      return this.#fail(error as Error)
    }
    this.#unhook()
    if (last !== '') this.#socket.write(last, 'latin1')
  }

  readonly #closed = (): void => this.#fail(new HttpCallError('ECANCELED', 'the request body was closed before its end'))
}

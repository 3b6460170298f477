import type { IncomingHttpHeaders } from 'node:http'
import { Readable } from 'node:stream'
import { Connection } from '../../transport/http1/connection.ts'
import { Exchange } from '../../transport/http1/exchange.ts'
import { NO_TRAILERS } from '../../transport/http1/trailers.ts'
import { fieldOf } from '../http/fields.ts'
import { type Attempt, type AttemptRequest, type AttemptSink, type Failure, OF_CONNECTION } from './attempt.ts'

/** Bytes of a streamed body that wait for the connection before its sender is told to wait. */
const HIGH_WATER = 65_536

/** A body that is pushed. */
class Feed extends Readable {
  trailers: readonly string[] = NO_TRAILERS
  readonly #onRoom: () => void
  #full = false

  constructor(onRoom: () => void) {
    super({ highWaterMark: HIGH_WATER })
    this.#onRoom = onRoom
  }

  feed(chunk: Buffer): boolean {
    if (this.destroyed) return true
    if (this.push(chunk)) return true
    this.#full = true
    return false
  }

  override _read(): void {
    if (!this.#full) return
    this.#full = false
    this.#onRoom()
  }
}

/** An attempt over HTTP/1.1. */
export class Http1Attempt extends Exchange implements Attempt {
  readonly #sink: AttemptSink
  readonly #feed: Feed | undefined

  constructor(request: AttemptRequest, sink: AttemptSink) {
    const feed = request.streams ? new Feed(() => sink.attemptDrained()) : undefined
    super({
      method: request.method,
      path: request.path,
      headers: ['host', request.authority, ...request.fields],
      body: feed ?? request.body,
      trailers: feed && (() => feed.trailers),
      takesTrailers: fieldOf(request.fields, 'te') !== undefined,
    })
    this.#sink = sink
    this.#feed = feed
  }

  write(chunk: Buffer): boolean {
    return this.#feed?.feed(chunk) ?? true
  }

  finish(trailers: readonly string[]): void {
    if (!this.#feed) return
    this.#feed.trailers = trailers
    this.#feed.push(null)
  }

  override onError(error: Error): void {
    if (this.over) return
    const sent = this.carrier instanceof Connection
    this.#failure = failureOf(error, sent)
    super.onError(error)
  }

  #failure: Failure = 'reset'

  protected head(status: number, headers: IncomingHttpHeaders): void {
    const fields: string[] = []
    const { connection } = headers
    const named = connection !== undefined && connection !== 'keep-alive' && connection !== 'close' ? tokens(connection) : undefined
    for (const name in headers) {
      if (OF_CONNECTION.has(name) || named?.has(name)) continue
      const value = headers[name]
      if (typeof value === 'string') fields.push(name, value)
      else if (value) for (const one of value) fields.push(name, one)
    }
    this.#sink.attemptHead(status, fields)
  }

  protected data(chunk: Buffer): void {
    this.#sink.attemptData(chunk)
  }

  protected end(trailers: readonly string[]): void {
    this.#sink.attemptEnd(trailers)
  }

  protected failed(error: Error): void {
    this.#sink.attemptFailed(this.#failure, error)
  }

  protected override finished(): void {
    this.#feed?.destroy()
  }
}

function failureOf(error: Error, sent: boolean): Failure {
  const { code } = error as NodeJS.ErrnoException
  if (code === 'EBUSY') return 'overflow'
  if (code === 'EINVAL') return 'invalid'
  if (code === 'EPROTO' && sent) return 'protocol'
  return sent ? 'reset' : 'connect'
}

function tokens(connection: string | readonly string[]): Set<string> {
  return new Set(
    String(connection)
      .toLowerCase()
      .split(',')
      .map((token) => token.trim()),
  )
}

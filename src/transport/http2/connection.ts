import { Budget } from './budget.ts'
import type { Dialled } from './dial.ts'
import { type EndpointOptions, Http2Endpoint, NOTHING } from './endpoint.ts'
import type { DecodedBlock } from './hpack.ts'
import { ConnectionError, H2, T, uint32 } from './protocol.ts'
import { readRequest, trailersAllowed } from './request.ts'
import { Http2Stream } from './stream.ts'

/** Streams that we have reset and whose client may not know it yet. */
const MAX_REMEMBERED = 1000

export interface ConnectionOptions extends EndpointOptions {
  maxStreams: number
  /** Bytes of replies that may wait for the client; past it new streams are refused. */
  maxQueued: number
  /** Streams that a client may have reset, by itself or by its errors: at once, and per second. */
  resetBurst: number
  resetRate: number
}

export interface ConnectionEvents {
  onStream(stream: Http2Stream): void
  onPing(): void
  /** The last stream is over. */
  onIdle(): void
  onClose(): void
}

/** The server's side of one HTTP/2 connection. States: open → closing (GOAWAY sent, the last streams finish) → closed. */
export class Http2Connection extends Http2Endpoint<Http2Stream> {
  readonly options: ConnectionOptions
  readonly #events: ConnectionEvents
  readonly #resets: Budget
  readonly #reset = new Set<number>()
  /** The last stream that was looked at, and the last that came. */
  #lastStream = 0
  #highest = 0
  /** The client has left stream numbers out. */
  #skipped = false

  constructor(from: Pick<Dialled, 'socket' | 'feed'>, options: ConnectionOptions, events: ConnectionEvents) {
    super(from, options, [
      [3, options.maxStreams],
      [4, options.streamWindow],
      [6, options.maxHeaderSize],
    ])
    this.options = options
    this.#events = events
    this.#resets = new Budget('resets', options.resetBurst, options.resetRate)
  }

  protected get lastLookedAt(): number {
    return this.#lastStream
  }

  /** What a client sends on such a stream before it knows is no error. */
  resetByUs(id: number): void {
    this.#reset.add(id)
    if (this.#reset.size > MAX_REMEMBERED) for (const oldest of this.#reset) return void this.#reset.delete(oldest)
  }

  /** Takes no new streams and ends with the last one; with an error at once. */
  close(code: number = H2.NO_ERROR, text = ''): void {
    if (this.closed) return
    if (code !== H2.NO_ERROR) return this.broken(new ConnectionError(code, text))
    if (this.closing) return
    this.goAway(code, text)
    if (this.streams.size === 0) this.end()
  }

  protected opened(id: number): boolean {
    return id % 2 === 1 && id <= this.#highest
  }

  protected forgotten(id: number): boolean {
    return id > this.#lastStream || this.#reset.has(id)
  }

  protected headersAllowed(id: number): void {
    if (id % 2 === 0) throw new ConnectionError(H2.PROTOCOL, 'no stream of a client')
  }

  /** Whoever provokes resets without end is as bad as one who sends them. */
  protected fault(id: number, error: number): void {
    this.#resets.spend()
    const stream = this.streams.get(id)
    if (stream) return stream.reset(error)
    this.output.frame(T.RST, 0, id, uint32(error))
    this.resetByUs(id)
  }

  protected reset(stream: Http2Stream | undefined): void {
    this.#resets.spend()
    stream?.gone()
  }

  protected setting(id: number, value: number): void {
    if (id === 2 && value > 1) throw new ConnectionError(H2.PROTOCOL, 'ENABLE_PUSH')
  }

  protected pinged(ack: boolean): void {
    if (!ack) this.#events.onPing()
  }

  protected goneAway(): void {
    this.close()
  }

  protected idle(): void {
    this.#events.onIdle()
  }

  protected ended(): void {
    this.#events.onClose()
  }

  protected headers(id: number, block: DecodedBlock | undefined, ended: boolean): void {
    if (id > this.#highest) return this.#open(id, block, ended)
    const stream = this.streams.get(id)
    if (stream) {
      const fits = block && (stream.remoteEnded || (ended && trailersAllowed(block.raw)))
      if (fits && block && !stream.remoteEnded) stream.trailers = block.raw
      const error = fits ? stream.receive(NOTHING, 0, true) : block ? H2.PROTOCOL : H2.CALM
      if (error !== 0) this.fault(id, error)
    } else if (!this.forgotten(id))
      throw new ConnectionError(this.#skipped ? H2.PROTOCOL : H2.STREAM_CLOSED, 'HEADERS of a stream that is over')
  }

  #open(id: number, block: DecodedBlock | undefined, ended: boolean): void {
    if (id > this.#highest + 2) this.#skipped = true
    this.#highest = id
    if (this.closing) return
    this.#lastStream = id
    if (!block) return this.fault(id, H2.CALM)
    if (this.streams.size >= this.options.maxStreams || this.queued + this.output.unsent > this.options.maxQueued)
      return this.fault(id, H2.REFUSED)
    block.head ??= readRequest(block.raw)
    const headers = block.head
    if (!headers) return this.fault(id, H2.PROTOCOL)
    const stream = new Http2Stream(this, id, headers, block.raw)
    this.streams.set(id, stream)
    this.#events.onStream(stream)
    if (!ended || stream.closed) return
    const error = stream.receive(NOTHING, 0, true)
    if (error !== 0) this.fault(id, error)
  }
}

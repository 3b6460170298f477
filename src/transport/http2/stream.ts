import type { IncomingHttpHeaders } from 'node:http2'
import type { Http2Connection } from './connection.ts'
import { code, H2, T } from './protocol.ts'

/** Who hears of a stream. */
export interface StreamSink {
  data(chunk: Buffer): void
  requestEnd(): void
  streamClosed(): void
  drained(): void
}

/** Bytes that a stream takes from its writer before it asks it to wait. */
const HIGH_WATER = 65_536
const SINGLE = new Set(['content-type', 'user-agent', 'grpc-timeout', 'grpc-encoding', 'host'])

/** One stream at the server. It is over when both sides have ended, or when one of them has reset it. */
export class Http2Stream {
  readonly id: number
  readonly rawHeaders: readonly string[]
  readonly headers: IncomingHttpHeaders
  readonly wellFormed: boolean
  sink: StreamSink | undefined
  headersSent = false
  /** The client has sent everything, and the sink has it. */
  readableEnded = false
  closed = false
  readonly #connection: Http2Connection
  #window: number
  /** Bytes that came since the client was last given room. */
  #received = 0
  #paused = false
  #held: Buffer[] = []
  #remoteEnded = false
  #queue: Buffer[] = []
  #queued = 0
  #trailers: Buffer | undefined
  #blocked = false

  constructor(connection: Http2Connection, id: number, raw: readonly string[]) {
    this.#connection = connection
    this.id = id
    this.rawHeaders = raw
    this.#window = connection.initialWindow
    const headers = Object.create(null) as Record<string, string>
    let wellFormed = true
    for (let index = 0; index < raw.length; index += 2) {
      const name = raw[index] as string
      const value = raw[index + 1] as string
      const known = headers[name]
      if (known === undefined) headers[name] = value
      else if (name.startsWith(':')) wellFormed = false
      else if (!SINGLE.has(name)) headers[name] = `${known}, ${value}`
    }
    this.headers = headers
    this.wellFormed = wellFormed && headers[':path'] !== undefined && headers[':method'] !== undefined && headers.connection === undefined
  }

  /** Takes what came; false: more than the client was allowed. */
  receive(bytes: Buffer, counted: number, ended: boolean): boolean {
    this.#received += counted
    if (this.#received > this.#connection.options.streamWindow) return false
    if (this.#remoteEnded) return true
    if (ended) this.#remoteEnded = true
    if (this.#paused) {
      if (bytes.length > 0) this.#held.push(Buffer.from(bytes))
      return true
    }
    if (bytes.length > 0) this.sink?.data(bytes)
    this.#credit()
    if (ended && !this.#paused) this.#endRead()
    return true
  }

  #endRead(): void {
    if (this.readableEnded) return
    this.readableEnded = true
    this.sink?.requestEnd()
    this.#maybeOver()
  }

  #credit(): void {
    if (this.closed || this.#remoteEnded || this.#received < this.#connection.options.streamWindow / 2) return
    this.#connection.windowUpdate(this.id, this.#received)
    this.#received = 0
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    while (this.#held.length > 0 && !this.#paused) this.sink?.data(this.#held.shift() as Buffer)
    if (this.#paused) return
    this.#credit()
    if (this.#remoteEnded) this.#endRead()
  }

  respond(block: Buffer, end = false): void {
    this.headersSent = true
    this.#connection.frame(T.HEADERS, end ? 5 : 4, this.id, block)
    if (end) this.#localEnd()
  }

  /** False: wait until the sink hears `drained`. */
  write(bytes: Buffer): boolean {
    if (this.closed) return true
    this.#queue.push(bytes)
    this.#queued += bytes.length
    this.#connection.queued += bytes.length
    this.flush()
    if (this.#queued < HIGH_WATER) return true
    this.#blocked = true
    return false
  }

  end(bytes: Buffer | undefined, trailers: Buffer): void {
    if (this.closed) return
    this.#trailers = trailers
    if (bytes) {
      this.#blocked = false
      this.write(bytes)
    } else this.flush()
  }

  /** Sends what the windows allow. */
  flush(): void {
    const connection = this.#connection
    while (this.#queue.length > 0) {
      if (!connection.room) return connection.wait(this)
      if (this.#window <= 0) return
      const head = this.#queue[0] as Buffer
      const size = Math.min(head.length, this.#window, connection.sendWindow, connection.maxFrame)
      if (size === head.length) this.#queue.shift()
      else this.#queue[0] = head.subarray(size)
      this.#window -= size
      connection.sendWindow -= size
      connection.queued -= size
      this.#queued -= size
      connection.frame(T.DATA, 0, this.id, size === head.length ? head : head.subarray(0, size))
    }
    const trailers = this.#trailers
    if (trailers) {
      this.#trailers = undefined
      connection.frame(T.HEADERS, 5, this.id, trailers)
      this.#localEnd()
    } else if (this.#blocked) {
      this.#blocked = false
      this.sink?.drained()
    }
  }

  more(bytes: number): void {
    this.#window += bytes
    if (this.#window > 0x7fffffff) this.reset(H2.FLOW_CONTROL)
    else if (this.#window > 0) this.flush()
  }

  #ended = false

  #localEnd(): void {
    this.#ended = true
    // What the client still sends would not be read.
    if (this.#remoteEnded) this.#maybeOver()
    else setImmediate(() => (this.#remoteEnded ? this.#maybeOver() : this.reset(H2.NO_ERROR)))
  }

  #maybeOver(): void {
    if (this.#ended && this.#remoteEnded) this.gone()
  }

  reset(error: number): void {
    if (this.closed) return
    this.#connection.frame(T.RST, 0, this.id, code(error))
    this.gone()
  }

  /** The stream is over, on whichever side's wish. */
  gone(): void {
    if (this.closed) return
    this.closed = true
    this.#connection.queued -= this.#queued
    this.#queue = []
    this.#held = []
    this.#connection.forget(this)
    this.sink?.streamClosed()
  }
}

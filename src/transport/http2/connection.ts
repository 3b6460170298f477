import type { Socket } from 'node:net'
import { Budget } from './budget.ts'
import { HpackDecoder, HpackError } from './hpack.ts'
import { type FrameSink, Input } from './input.ts'
import { Output } from './output.ts'
import { ConnectionError, dependsOnOther, FLAG, H2, MAX_FRAME, MAX_WINDOW, T, uint32, unpad } from './protocol.ts'
import { CONNECTION_WINDOW, ReceiveWindow } from './receive-window.ts'
import { readRequest, trailersAllowed } from './request.ts'
import { Http2Stream } from './stream.ts'

const NOTHING = Buffer.alloc(0)
/** Frames of one header block: those without content cost as much as others. */
const MAX_PARTS = 64
/** Streams that we have reset and whose client may not know it yet. */
const MAX_REMEMBERED = 1000
/** Milliseconds that a client may take to read the last of what was written. */
const MAX_END = 30_000

export interface ConnectionOptions {
  maxStreams: number
  /** Bytes that a client may send ahead on one stream. */
  streamWindow: number
  /** Bytes of one header block as it comes. */
  maxHeaderBlock: number
  maxHeaderSize: number
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

interface HeaderBlock {
  stream: number
  ended: boolean
  parts: Buffer[]
  size: number
}

/**
 * The server's side of one HTTP/2 connection, on any socket: https://www.rfc-editor.org/rfc/rfc9113. States: open → closing (GOAWAY sent, the last streams finish) → closed.
 */
export class Http2Connection implements FrameSink {
  readonly streams = new Map<number, Http2Stream>()
  readonly options: ConnectionOptions
  readonly output: Output
  readonly receiving: ReceiveWindow
  /** What the client lets us send on a new stream. */
  initialWindow = 65_535
  /** Bytes of replies that wait for windows. */
  queued = 0
  closed = false
  readonly #socket: Socket
  readonly #events: ConnectionEvents
  readonly #decoder = new HpackDecoder()
  readonly #resets: Budget
  readonly #settingsBudget = new Budget('SETTINGS', 100, 10)
  readonly #emptyFrames = new Budget('frames without content', 10_000, 1000)
  readonly #reset = new Set<number>()
  readonly #input: Input
  #settled = false
  /** The last stream that was looked at, and the last that came. */
  #lastStream = 0
  #highest = 0
  /** The client has left stream numbers out. */
  #skipped = false
  #closing = false
  #block: HeaderBlock | undefined

  constructor(socket: Socket, options: ConnectionOptions, events: ConnectionEvents) {
    this.#socket = socket
    this.options = options
    this.#events = events
    this.#resets = new Budget('resets', options.resetBurst, options.resetRate)
    this.output = new Output(socket)
    this.receiving = new ReceiveWindow((bytes) => this.windowUpdate(0, bytes))
    const settings = Buffer.alloc(18)
    ;[
      [3, options.maxStreams],
      [4, options.streamWindow],
      [6, options.maxHeaderSize],
    ].forEach(([id, value], index) => {
      settings.writeUInt16BE(id as number, index * 6)
      settings.writeUInt32BE(value as number, index * 6 + 2)
    })
    this.output.frame(T.SETTINGS, 0, 0, settings)
    this.windowUpdate(0, CONNECTION_WINDOW - 65_535)
    this.#input = new Input(socket, this.output, this)
    socket.on('error', () => {})
    socket.on('end', () => socket.end())
    socket.on('close', () => this.#closed())
  }

  get bytesRead(): number {
    return this.#socket.bytesRead
  }

  windowUpdate(stream: number, bytes: number): void {
    this.output.frame(T.WINDOW, 0, stream, uint32(bytes))
  }

  ping(): void {
    this.output.frame(T.PING, 0, 0, Buffer.alloc(8))
  }

  /** A stream is over. */
  forget(stream: Http2Stream): void {
    this.output.forget(stream)
    if (!this.streams.delete(stream.id) || this.streams.size > 0) return
    this.#events.onIdle()
    if (this.#closing) this.#end()
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
    if (this.#closing) return
    this.#goAway(code, text)
    if (this.streams.size === 0) this.#end()
  }

  destroy(): void {
    this.#socket.destroy()
  }

  #goAway(code: number, text: string): void {
    this.#closing = true
    const payload = Buffer.alloc(8 + text.length)
    payload.writeUInt32BE(this.#lastStream)
    payload.writeUInt32BE(code, 4)
    payload.write(text, 8, 'latin1')
    this.output.frame(T.GOAWAY, 0, 0, payload)
  }

  #end(): void {
    // A client that does not answer the end must not keep the connection; one that reads slowly may have what was written.
    const late = setTimeout(() => this.#socket.destroy(), MAX_END).unref()
    this.#socket.once('finish', () => setTimeout(() => this.#socket.destroy(), 1000).unref())
    this.#socket.once('close', () => clearTimeout(late))
    this.output.end()
  }

  /** Ends the connection for what the other side did. */
  broken(error: unknown): void {
    if (this.closed) return
    const code = error instanceof ConnectionError ? error.code : error instanceof HpackError ? H2.COMPRESSION : H2.INTERNAL
    // A mistake of ours costs this connection only, but is not kept quiet.
    if (code === H2.INTERNAL) process.emitWarning(error as Error)
    this.#goAway(code, code === H2.INTERNAL ? '' : (error as Error).message)
    this.#input.stop()
    this.output.end()
    setTimeout(() => this.#socket.destroy(), 1000).unref()
    this.#closed()
  }

  #closed(): void {
    if (this.closed) return
    this.closed = true
    for (const stream of [...this.streams.values()]) stream.gone()
    this.#events.onClose()
  }

  frame(type: number, flags: number, id: number, payload: Buffer): void {
    if (this.#block && (type !== T.CONTINUATION || id !== this.#block.stream))
      throw new ConnectionError(H2.PROTOCOL, 'a header block without its end')
    if (!this.#settled && type !== T.SETTINGS) throw new ConnectionError(H2.PROTOCOL, 'no SETTINGS first')
    switch (type) {
      case T.DATA:
        return this.#data(flags, id, payload)
      case T.HEADERS: {
        if (id % 2 === 0) throw new ConnectionError(H2.PROTOCOL, 'no stream of a client')
        let part = unpad(flags, payload)
        if (flags & FLAG.PRIORITY) {
          if (part.length < 5) throw new ConnectionError(H2.FRAME_SIZE, 'HEADERS')
          dependsOnOther(id, part)
          part = part.subarray(5)
        }
        this.#block = { stream: id, ended: (flags & FLAG.END_STREAM) !== 0, parts: [], size: 0 }
        return this.#headers(flags, part)
      }
      case T.CONTINUATION:
        if (!this.#block) throw new ConnectionError(H2.PROTOCOL, 'a continuation of nothing')
        return this.#headers(flags, payload)
      case T.PRIORITY:
        this.#emptyFrames.spend()
        if (id === 0) throw new ConnectionError(H2.PROTOCOL, 'PRIORITY of no stream')
        if (payload.length !== 5) throw new ConnectionError(H2.FRAME_SIZE, 'PRIORITY')
        return dependsOnOther(id, payload)
      case T.RST:
        if (payload.length !== 4) throw new ConnectionError(H2.FRAME_SIZE, 'RST_STREAM')
        this.#known(id, 'RST_STREAM')
        this.#resets.spend()
        return this.streams.get(id)?.gone()
      case T.SETTINGS:
        return this.#settings(flags, id, payload)
      case T.PING:
        if (id !== 0) throw new ConnectionError(H2.PROTOCOL, 'PING of a stream')
        if (payload.length !== 8) throw new ConnectionError(H2.FRAME_SIZE, 'PING')
        if (flags & FLAG.ACK) return
        this.output.frame(T.PING, FLAG.ACK, 0, Buffer.from(payload))
        return this.#events.onPing()
      case T.WINDOW:
        return this.#window(id, payload)
      case T.GOAWAY:
        if (id !== 0) throw new ConnectionError(H2.PROTOCOL, 'GOAWAY of a stream')
        if (payload.length < 8) throw new ConnectionError(H2.FRAME_SIZE, 'GOAWAY')
        return this.close()
      case T.PUSH:
        throw new ConnectionError(H2.PROTOCOL, 'a client that pushes')
      default:
        this.#emptyFrames.spend()
    }
  }

  /** Throws for a stream that was never opened. */
  #known(id: number, what: string): void {
    if (id % 2 === 0 || id > this.#highest) throw new ConnectionError(H2.PROTOCOL, `${what} of an idle stream`)
  }

  /** Resets a stream for what the client did: whoever provokes resets without end is as bad as one who sends them. */
  #fault(id: number, error: number): void {
    this.#resets.spend()
    const stream = this.streams.get(id)
    if (stream) return stream.reset(error)
    this.output.frame(T.RST, 0, id, uint32(error))
    this.resetByUs(id)
  }

  #data(flags: number, id: number, payload: Buffer): void {
    this.#known(id, 'DATA')
    this.receiving.take(payload.length)
    const body = unpad(flags, payload)
    const ended = (flags & FLAG.END_STREAM) !== 0
    if (body.length === 0 && !ended) this.#emptyFrames.spend()
    const stream = this.streams.get(id)
    const error = stream ? stream.receive(body, payload.length, ended) : this.#forgotten(id) ? 0 : H2.STREAM_CLOSED
    if (error !== 0) this.#fault(id, error)
    this.receiving.settle()
  }

  /** Whether what still comes on a stream that is over is no error: the client cannot know yet. */
  #forgotten(id: number): boolean {
    return id > this.#lastStream || this.#reset.has(id)
  }

  #window(id: number, payload: Buffer): void {
    if (payload.length !== 4) throw new ConnectionError(H2.FRAME_SIZE, 'WINDOW_UPDATE')
    const more = payload.readUInt32BE() & MAX_WINDOW
    if (id === 0) {
      if (more === 0) throw new ConnectionError(H2.PROTOCOL, 'WINDOW_UPDATE of 0')
      this.output.window += more
      if (this.output.window > MAX_WINDOW) throw new ConnectionError(H2.FLOW_CONTROL, 'window too large')
      return this.output.wake()
    }
    this.#known(id, 'WINDOW_UPDATE')
    const stream = this.streams.get(id)
    if (!stream) return
    if (more === 0) this.#fault(id, H2.PROTOCOL)
    else if (!stream.more(more)) this.#fault(id, H2.FLOW_CONTROL)
  }

  #headers(flags: number, part: Buffer): void {
    const block = this.#block as HeaderBlock
    block.size += part.length
    const last = (flags & FLAG.END_HEADERS) !== 0
    block.parts.push(last ? part : Buffer.from(part))
    if (block.size > this.options.maxHeaderBlock || block.parts.length > MAX_PARTS) throw new ConnectionError(H2.CALM, 'a flood of headers')
    if (!last) return
    this.#block = undefined
    // Whatever becomes of the stream, the tables must follow.
    const raw = this.#decoder.decode(block.parts.length === 1 ? part : Buffer.concat(block.parts), this.options.maxHeaderBlock)
    const { stream: id, ended } = block
    if (id > this.#highest) return this.#open(id, raw, ended)
    const stream = this.streams.get(id)
    if (stream) {
      const fits = raw && (stream.remoteEnded || (ended && trailersAllowed(raw)))
      const error = fits ? stream.receive(NOTHING, 0, true) : raw ? H2.PROTOCOL : H2.CALM
      if (error !== 0) this.#fault(id, error)
    } else if (!this.#forgotten(id))
      throw new ConnectionError(this.#skipped ? H2.PROTOCOL : H2.STREAM_CLOSED, 'HEADERS of a stream that is over')
  }

  #open(id: number, raw: readonly string[] | undefined, ended: boolean): void {
    if (id > this.#highest + 2) this.#skipped = true
    this.#highest = id
    if (this.#closing) return
    this.#lastStream = id
    if (!raw) return this.#fault(id, H2.CALM)
    if (this.streams.size >= this.options.maxStreams || this.queued + this.output.unsent > this.options.maxQueued)
      return this.#fault(id, H2.REFUSED)
    const headers = readRequest(raw)
    if (!headers) return this.#fault(id, H2.PROTOCOL)
    const stream = new Http2Stream(this, id, headers, raw)
    this.streams.set(id, stream)
    this.#events.onStream(stream)
    if (!ended || stream.closed) return
    const error = stream.receive(NOTHING, 0, true)
    if (error !== 0) this.#fault(id, error)
  }

  #settings(flags: number, id: number, payload: Buffer): void {
    if (id !== 0) throw new ConnectionError(H2.PROTOCOL, 'SETTINGS of a stream')
    if (payload.length % 6 !== 0 || (flags & FLAG.ACK && payload.length > 0)) throw new ConnectionError(H2.FRAME_SIZE, 'SETTINGS')
    if (flags & FLAG.ACK) return
    this.#settled = true
    this.#settingsBudget.spend()
    const before = this.initialWindow
    for (let at = 0; at < payload.length; at += 6) this.#setting(payload.readUInt16BE(at), payload.readUInt32BE(at + 2))
    // Before what the new values bring: the client must not see it earlier than that we know them.
    this.output.frame(T.SETTINGS, FLAG.ACK, 0)
    const change = this.initialWindow - before
    if (change !== 0)
      for (const stream of [...this.streams.values()])
        if (!stream.more(change)) throw new ConnectionError(H2.FLOW_CONTROL, 'window too large')
  }

  #setting(id: number, value: number): void {
    switch (id) {
      case 2:
        if (value > 1) throw new ConnectionError(H2.PROTOCOL, 'ENABLE_PUSH')
        break
      case 4:
        if (value > MAX_WINDOW) throw new ConnectionError(H2.FLOW_CONTROL, 'window too large')
        this.initialWindow = value
        break
      case 5:
        if (value < MAX_FRAME || value > 0xffffff) throw new ConnectionError(H2.PROTOCOL, 'frame size')
        this.output.maxFrame = Math.min(value, 65_536)
    }
  }
}

import type { Socket } from 'node:net'
import { Budget } from './budget.ts'
import type { Dialled } from './dial.ts'
import type { FlowStream } from './flow-stream.ts'
import { HeaderParts } from './header-parts.ts'
import { type DecodedBlock, HpackDecoder, HpackError } from './hpack.ts'
import { type FrameSink, Input } from './input.ts'
import { Output } from './output.ts'
import {
  ConnectionError,
  dependsOnOther,
  FLAG,
  goAwayPayload,
  H2,
  MAX_FRAME,
  MAX_WINDOW,
  settingsPayload,
  T,
  uint32,
  unpad,
} from './protocol.ts'
import { CONNECTION_WINDOW, ReceiveWindow } from './receive-window.ts'
import { StreamTable } from './stream-table.ts'

export const NOTHING: Buffer = Buffer.alloc(0)
/** Milliseconds that the other side may take to read the last of what was written. */
const MAX_END = 30_000

export interface EndpointOptions {
  /** Bytes that the other side may send ahead on one stream. */
  streamWindow: number
  /** Bytes of one header block as it comes. */
  maxHeaderBlock: number
  maxHeaderSize: number
}

/**
 * What both sides of an HTTP/2 connection have in common, on any socket: https://www.rfc-editor.org/rfc/rfc9113.
 * States: open → closing (the last streams finish) → closed.
 */
export abstract class Http2Endpoint<S extends FlowStream> implements FrameSink {
  readonly streams = new StreamTable<S>()
  readonly output: Output
  readonly receiving: ReceiveWindow
  readonly streamWindow: number
  /** What the other side lets us send on a new stream. */
  initialWindow = 65_535
  /** Bytes that wait for windows. */
  queued = 0
  closed = false
  protected closing = false
  protected readonly socket: Socket
  protected readonly emptyFrames = new Budget('frames without content', 10_000, 1000)
  readonly #maxHeaderBlock: number
  readonly #parts: HeaderParts
  readonly #decoder = new HpackDecoder()
  readonly #settingsBudget = new Budget('SETTINGS', 100, 10)
  readonly #input: Input
  #settled = false

  /** What comes lies in memory that is used again: whoever keeps it copies it. */
  readonly borrowed: boolean

  /** @param settings Identifiers and values to announce. @param first What is to be said before them. */
  constructor(
    { socket, feed }: Pick<Dialled, 'socket' | 'feed'>,
    options: EndpointOptions,
    settings: readonly (readonly [number, number])[],
    first?: Buffer,
  ) {
    this.socket = socket
    this.borrowed = feed !== undefined
    this.streamWindow = options.streamWindow
    this.#maxHeaderBlock = options.maxHeaderBlock
    this.#parts = new HeaderParts(options.maxHeaderBlock)
    this.output = new Output(socket)
    this.receiving = new ReceiveWindow((bytes) => this.windowUpdate(0, bytes))
    if (first) this.output.raw(first)
    this.output.frame(T.SETTINGS, 0, 0, settingsPayload(settings))
    this.windowUpdate(0, CONNECTION_WINDOW - 65_535)
    this.#input = new Input(socket, this.output, this, first !== undefined, feed)
    socket.on('error', (error: Error) => this.failed(error))
    socket.on('end', () => socket.end())
    socket.on('close', () => this.over())
  }

  /** A stream that is not over has a header block: the end of a request or reply, or its head. */
  protected abstract headers(id: number, block: DecodedBlock | undefined, ended: boolean): void
  /** Throws ConnectionError when HEADERS may not come with this number at all. */
  protected abstract headersAllowed(id: number): void
  /** Whether a stream of this number was ever opened. */
  protected abstract opened(id: number): boolean
  /** Whether what still comes on a stream that is over is no error: the other side cannot know yet. */
  protected abstract forgotten(id: number): boolean
  /** Resets a stream for what the other side did. */
  protected abstract fault(id: number, error: number): void
  /** The other side has reset a stream. */
  protected abstract reset(stream: S | undefined, error: number): void
  protected abstract setting(id: number, value: number): void
  /** The values of SETTINGS are in force; the first ones begin the conversation. */
  protected settled(_first: boolean): void {}
  protected abstract pinged(ack: boolean): void
  protected abstract goneAway(last: number, error: number, text: string): void
  /** The last stream is over. */
  protected abstract idle(): void
  /** The connection is over, its streams too. */
  protected abstract ended(): void
  protected failed(_error: Error): void {}
  /** The number that a GOAWAY of ours names: what came after it was not looked at. */
  protected abstract readonly lastLookedAt: number
  /** We have reset a stream; what was sent on it before the other side knows is no error. */
  abstract resetByUs(id: number): void

  get bytesRead(): number {
    return this.socket.bytesRead
  }

  windowUpdate(stream: number, bytes: number): void {
    this.output.frame(T.WINDOW, 0, stream, uint32(bytes))
  }

  ping(): void {
    this.output.frame(T.PING, 0, 0, Buffer.alloc(8))
  }

  /** A stream is over. */
  forget(stream: S): void {
    this.output.forget(stream)
    if (!this.streams.delete(stream.id) || this.streams.size > 0) return
    this.idle()
    if (this.closing && !this.closed) this.end()
  }

  destroy(error?: Error): void {
    this.socket.destroy(error)
  }

  protected goAway(code: number, text: string): void {
    this.closing = true
    this.output.frame(T.GOAWAY, 0, 0, goAwayPayload(this.lastLookedAt, code, text))
  }

  protected end(): void {
    // Whoever does not answer the end must not keep the connection; one that reads slowly may have what was written.
    const late = setTimeout(() => this.socket.destroy(), MAX_END).unref()
    this.socket.once('finish', () => setTimeout(() => this.socket.destroy(), 1000).unref())
    this.socket.once('close', () => clearTimeout(late))
    this.output.end()
  }

  /** Ends the connection for what the other side did. */
  broken(error: unknown): void {
    if (this.closed) return
    const code = error instanceof ConnectionError ? error.code : error instanceof HpackError ? H2.COMPRESSION : H2.INTERNAL
    // A mistake of ours costs this connection only, but is not kept quiet.
    if (code === H2.INTERNAL) process.emitWarning(error as Error)
    this.failed(error as Error)
    this.goAway(code, code === H2.INTERNAL ? '' : (error as Error).message)
    this.#input.stop()
    this.output.end()
    setTimeout(() => this.socket.destroy(), 1000).unref()
    this.over()
  }

  protected over(): void {
    if (this.closed) return
    this.closed = true
    for (const stream of this.streams.values()) stream.gone()
    this.ended()
  }

  frame(type: number, flags: number, id: number, payload: Buffer): void {
    if (this.#parts.stream !== undefined && (type !== T.CONTINUATION || id !== this.#parts.stream))
      throw new ConnectionError(H2.PROTOCOL, 'a header block without its end')
    if (!this.#settled && type !== T.SETTINGS) throw new ConnectionError(H2.PROTOCOL, 'no SETTINGS first')
    switch (type) {
      case T.DATA:
        return this.#data(flags, id, payload)
      case T.HEADERS: {
        this.headersAllowed(id)
        let part = unpad(flags, payload)
        if (flags & FLAG.PRIORITY) {
          if (part.length < 5) throw new ConnectionError(H2.FRAME_SIZE, 'HEADERS')
          dependsOnOther(id, part)
          part = part.subarray(5)
        }
        const ended = (flags & FLAG.END_STREAM) !== 0
        // Nearly always the whole block is here.
        if (flags & FLAG.END_HEADERS) return this.#decoded(id, part, ended)
        this.#parts.begin(id, ended)
        return this.#part(flags, part)
      }
      case T.CONTINUATION:
        if (this.#parts.stream === undefined) throw new ConnectionError(H2.PROTOCOL, 'a continuation of nothing')
        return this.#part(flags, payload)
      case T.PRIORITY:
        this.emptyFrames.spend()
        if (id === 0) throw new ConnectionError(H2.PROTOCOL, 'PRIORITY of no stream')
        if (payload.length !== 5) throw new ConnectionError(H2.FRAME_SIZE, 'PRIORITY')
        return dependsOnOther(id, payload)
      case T.RST:
        if (payload.length !== 4) throw new ConnectionError(H2.FRAME_SIZE, 'RST_STREAM')
        this.#known(id, 'RST_STREAM')
        return this.reset(this.streams.get(id), payload.readUInt32BE())
      case T.SETTINGS:
        return this.#settings(flags, id, payload)
      case T.PING:
        if (id !== 0) throw new ConnectionError(H2.PROTOCOL, 'PING of a stream')
        if (payload.length !== 8) throw new ConnectionError(H2.FRAME_SIZE, 'PING')
        if (!(flags & FLAG.ACK)) this.output.frame(T.PING, FLAG.ACK, 0, Buffer.from(payload))
        return this.pinged((flags & FLAG.ACK) !== 0)
      case T.WINDOW:
        return this.#window(id, payload)
      case T.GOAWAY:
        if (id !== 0) throw new ConnectionError(H2.PROTOCOL, 'GOAWAY of a stream')
        if (payload.length < 8) throw new ConnectionError(H2.FRAME_SIZE, 'GOAWAY')
        return this.goneAway(payload.readUInt32BE() & MAX_WINDOW, payload.readUInt32BE(4), payload.toString('latin1', 8, 264))
      case T.PUSH:
        throw new ConnectionError(H2.PROTOCOL, 'PUSH_PROMISE')
      default:
        this.emptyFrames.spend()
    }
  }

  /** Throws for a stream that was never opened. */
  #known(id: number, what: string): void {
    if (!this.opened(id)) throw new ConnectionError(H2.PROTOCOL, `${what} of an idle stream`)
  }

  #data(flags: number, id: number, payload: Buffer): void {
    this.#known(id, 'DATA')
    this.receiving.take(payload.length)
    const body = unpad(flags, payload)
    const ended = (flags & FLAG.END_STREAM) !== 0
    if (body.length === 0 && !ended) this.emptyFrames.spend()
    const stream = this.streams.get(id)
    const error = stream ? stream.receive(body, payload.length, ended) : this.forgotten(id) ? 0 : H2.STREAM_CLOSED
    if (error !== 0) this.fault(id, error)
    this.receiving.settle()
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
    if (more === 0) this.fault(id, H2.PROTOCOL)
    else if (!stream.more(more)) this.fault(id, H2.FLOW_CONTROL)
  }

  #part(flags: number, part: Buffer): void {
    const whole = this.#parts.add(part, (flags & FLAG.END_HEADERS) !== 0)
    if (whole) this.#decoded(whole.stream, whole.bytes, whole.ended)
  }

  #decoded(id: number, block: Buffer, ended: boolean): void {
    if (block.length > this.#maxHeaderBlock) throw new ConnectionError(H2.CALM, 'a flood of headers')
    // Whatever becomes of the stream, the tables must follow.
    this.headers(id, this.#decoder.read(block, this.#maxHeaderBlock), ended)
  }

  #settings(flags: number, id: number, payload: Buffer): void {
    if (id !== 0) throw new ConnectionError(H2.PROTOCOL, 'SETTINGS of a stream')
    if (payload.length % 6 !== 0 || (flags & FLAG.ACK && payload.length > 0)) throw new ConnectionError(H2.FRAME_SIZE, 'SETTINGS')
    if (flags & FLAG.ACK) return
    const first = !this.#settled
    this.#settled = true
    this.#settingsBudget.spend()
    const before = this.initialWindow
    for (let at = 0; at < payload.length; at += 6) this.#setting(payload.readUInt16BE(at), payload.readUInt32BE(at + 2))
    // Before what the new values bring: the other side must not see it earlier than that we know them.
    this.output.frame(T.SETTINGS, FLAG.ACK, 0)
    const change = this.initialWindow - before
    if (change !== 0)
      for (const stream of this.streams.values()) if (!stream.more(change)) throw new ConnectionError(H2.FLOW_CONTROL, 'window too large')
    this.settled(first)
  }

  #setting(id: number, value: number): void {
    if (id === 4) {
      if (value > MAX_WINDOW) throw new ConnectionError(H2.FLOW_CONTROL, 'window too large')
      this.initialWindow = value
    } else if (id === 5) {
      if (value < MAX_FRAME || value > 0xffffff) throw new ConnectionError(H2.PROTOCOL, 'frame size')
      this.output.maxFrame = Math.min(value, 65_536)
    } else this.setting(id, value)
  }
}

import type { Socket } from 'node:net'
import { HpackDecoder, HpackError } from './hpack.ts'
import { code, H2, T } from './protocol.ts'
import { Http2Stream } from './stream.ts'

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
const MAX_FRAME = 16_384
const CONNECTION_WINDOW = 4 << 20
const MAX_WINDOW = 0x7fffffff
/** Bytes of replies that are written in one turn of the loop; the rest waits for the socket to take them. */
const MAX_TURN = 256 << 10
/** Answers (PING, SETTINGS) that a client may leave unread. */
const MAX_ANSWERS = 1000

export interface ConnectionOptions {
  maxStreams: number
  /** Bytes that a client may send ahead on one stream. */
  streamWindow: number
  /** Bytes of one header block as it comes. */
  maxHeaderBlock: number
  maxHeaderSize: number
  /** Bytes of replies that may wait for the client; past it new streams are refused. */
  maxQueued: number
  /** Resets a client may send: at once, and per second. */
  resetBurst: number
  resetRate: number
}

export interface ConnectionEvents {
  onStream(stream: Http2Stream): void
  onPing(): void
  onClose(): void
}

interface HeaderBlock {
  stream: number
  flags: number
  parts: Buffer[]
  size: number
}

class ConnectionError extends Error {
  readonly code: number
  constructor(code: number, text: string) {
    super(text)
    this.code = code
  }
}

/**
 * The server's side of one HTTP/2 connection, on any socket. Frames are read as they come; what is written in one turn of the
 * loop leaves in one write. States: open → closing (GOAWAY sent, the last streams finish) → closed.
 */
export class Http2Connection {
  readonly streams = new Map<number, Http2Stream>()
  readonly options: ConnectionOptions
  /** What the client lets us send on the whole connection, and on a new stream. */
  sendWindow = 65_535
  initialWindow = 65_535
  maxFrame = MAX_FRAME
  /** Bytes of replies that wait. */
  queued = 0
  closed = false
  readonly #socket: Socket
  readonly #events: ConnectionEvents
  readonly #decoder = new HpackDecoder()
  #rest: Buffer = Buffer.alloc(0)
  #greeted = false
  #lastStream = 0
  #closing = false
  #received = 0
  #answers = 0
  #block: HeaderBlock | undefined
  #out: Buffer[] = []
  #outBytes = 0
  #scheduled = false
  #full = false
  readonly #waiting = new Set<Http2Stream>()
  #resets: number
  #resetsAt = performance.now()

  constructor(socket: Socket, options: ConnectionOptions, events: ConnectionEvents) {
    this.#socket = socket
    this.options = options
    this.#events = events
    this.#resets = options.resetBurst
    const settings = Buffer.alloc(18)
    ;[
      [3, options.maxStreams],
      [4, options.streamWindow],
      [6, options.maxHeaderSize],
    ].forEach(([id, value], index) => {
      settings.writeUInt16BE(id as number, index * 6)
      settings.writeUInt32BE(value as number, index * 6 + 2)
    })
    this.frame(T.SETTINGS, 0, 0, settings)
    this.windowUpdate(0, CONNECTION_WINDOW - 65_535)
    socket.on('data', (chunk: Buffer) => this.#read(chunk))
    socket.on('drain', () => this.#drained())
    socket.on('error', () => {})
    socket.on('end', () => socket.end())
    socket.on('close', () => this.#closed())
  }

  get bytesRead(): number {
    return this.#socket.bytesRead
  }

  /** Writes a frame with what else this turn of the loop brings. */
  frame(type: number, flags: number, stream: number, payload?: Buffer): void {
    const length = payload?.length ?? 0
    const head = Buffer.allocUnsafe(9)
    head[0] = length >> 16
    head[1] = length >> 8
    head[2] = length
    head[3] = type
    head[4] = flags
    head.writeUInt32BE(stream, 5)
    this.#out.push(head)
    if (payload && length > 0) this.#out.push(payload)
    this.#outBytes += length + 9
    if (this.#scheduled) return
    this.#scheduled = true
    process.nextTick(flush, this)
  }

  flush(): void {
    this.#scheduled = false
    const out = this.#out
    if (out.length === 0 || this.closed) return
    this.#out = []
    const bytes = out.length === 1 ? (out[0] as Buffer) : Buffer.concat(out, this.#outBytes)
    this.#outBytes = 0
    if (!this.#socket.write(bytes)) this.#full = true
    else {
      this.#answers = 0
      if (this.#waiting.size > 0) this.#wake()
    }
  }

  /** Whether replies may be written now. */
  get room(): boolean {
    return !this.#full && this.sendWindow > 0 && this.#outBytes < MAX_TURN
  }

  /** Lets a stream know when there is room again. */
  wait(stream: Http2Stream): void {
    this.#waiting.add(stream)
  }

  forget(stream: Http2Stream): void {
    this.#waiting.delete(stream)
    if (this.streams.delete(stream.id) && this.#closing && this.streams.size === 0) this.#end()
  }

  windowUpdate(stream: number, bytes: number): void {
    const payload = Buffer.allocUnsafe(4)
    payload.writeUInt32BE(bytes)
    this.frame(T.WINDOW, 0, stream, payload)
  }

  ping(): void {
    this.frame(T.PING, 0, 0, Buffer.alloc(8))
  }

  /** Takes no new streams and ends with the last one; with an error at once. */
  close(code: number = H2.NO_ERROR, text = ''): void {
    if (this.closed || (this.#closing && code === H2.NO_ERROR)) return
    this.#closing = true
    const payload = Buffer.alloc(8 + text.length)
    payload.writeUInt32BE(this.#lastStream)
    payload.writeUInt32BE(code, 4)
    payload.write(text, 8, 'latin1')
    this.frame(T.GOAWAY, 0, 0, payload)
    if (code !== H2.NO_ERROR || this.streams.size === 0) this.#end()
  }

  destroy(): void {
    this.#socket.destroy()
  }

  #end(): void {
    this.flush()
    this.#socket.end()
    // A client that does not answer the end must not keep the connection.
    setTimeout(() => this.#socket.destroy(), 1000).unref()
  }

  #closed(): void {
    if (this.closed) return
    this.closed = true
    for (const stream of [...this.streams.values()]) stream.gone()
    this.#events.onClose()
  }

  #drained(): void {
    this.#full = false
    this.#answers = 0
    this.#wake()
  }

  #wake(): void {
    for (const stream of this.#waiting) {
      if (!this.room) return
      this.#waiting.delete(stream)
      stream.flush()
    }
  }

  #read(chunk: Buffer): void {
    if (this.closed) return
    let bytes: Buffer = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    let at = 0
    try {
      if (!this.#greeted) {
        const given = bytes.subarray(0, PREFACE.length)
        if (!given.equals(PREFACE.subarray(0, given.length))) throw new ConnectionError(H2.PROTOCOL, 'no HTTP/2')
        if (bytes.length < PREFACE.length) {
          this.#rest = bytes
          return
        }
        this.#greeted = true
        at = PREFACE.length
      }
      while (bytes.length - at >= 9) {
        const length = ((bytes[at] as number) << 16) | ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number)
        if (length > MAX_FRAME) throw new ConnectionError(H2.FRAME_SIZE, `a frame of ${length} bytes`)
        if (bytes.length - at - 9 < length) break
        const start = at + 9
        at = start + length
        this.#frame(
          bytes[start - 6] as number,
          bytes[start - 5] as number,
          bytes.readUInt32BE(start - 4) & MAX_WINDOW,
          bytes.subarray(start, at),
        )
        if (this.closed) return
      }
    } catch (error) {
      bytes = Buffer.alloc(0)
      at = 0
      this.#socket.removeAllListeners('data').resume()
      if (error instanceof ConnectionError) this.close(error.code, error.message)
      else if (error instanceof HpackError) this.close(H2.COMPRESSION, error.message)
      else throw error
      this.#socket.destroySoon()
    }
    this.#rest = at === bytes.length ? bytes.subarray(0, 0) : Buffer.from(bytes.subarray(at))
  }

  #frame(type: number, flags: number, id: number, payload: Buffer): void {
    if (this.#block && (type !== T.CONTINUATION || id !== this.#block.stream))
      throw new ConnectionError(H2.PROTOCOL, 'a header block without its end')
    switch (type) {
      case T.DATA:
        return this.#data(flags, id, payload)
      case T.HEADERS: {
        if (id % 2 === 0) throw new ConnectionError(H2.PROTOCOL, 'no stream of a client')
        let part = unpad(flags, payload)
        if (flags & 0x20) part = part.subarray(5)
        this.#block = { stream: id, flags, parts: [], size: 0 }
        return this.#headers(flags, part)
      }
      case T.CONTINUATION:
        if (!this.#block) throw new ConnectionError(H2.PROTOCOL, 'a continuation of nothing')
        return this.#headers(flags, payload)
      case T.RST: {
        if (payload.length !== 4) throw new ConnectionError(H2.FRAME_SIZE, 'RST_STREAM')
        if (id === 0 || id > this.#lastStream) throw new ConnectionError(H2.PROTOCOL, 'RST_STREAM of an idle stream')
        this.#countReset()
        return this.streams.get(id)?.gone()
      }
      case T.SETTINGS:
        return this.#settings(flags, id, payload)
      case T.PING:
        if (payload.length !== 8 || id !== 0) throw new ConnectionError(H2.FRAME_SIZE, 'PING')
        if (flags & 1) return
        this.#answer()
        this.frame(T.PING, 1, 0, Buffer.from(payload))
        return this.#events.onPing()
      case T.WINDOW: {
        if (payload.length !== 4) throw new ConnectionError(H2.FRAME_SIZE, 'WINDOW_UPDATE')
        const more = payload.readUInt32BE() & MAX_WINDOW
        if (more === 0) throw new ConnectionError(H2.PROTOCOL, 'WINDOW_UPDATE of 0')
        if (id > this.#lastStream) throw new ConnectionError(H2.PROTOCOL, 'WINDOW_UPDATE of an idle stream')
        if (id !== 0) return this.streams.get(id)?.more(more)
        this.sendWindow += more
        if (this.sendWindow > MAX_WINDOW) throw new ConnectionError(H2.FLOW_CONTROL, 'window too large')
        return this.#wake()
      }
      case T.GOAWAY:
        return this.close()
      case T.PUSH:
        throw new ConnectionError(H2.PROTOCOL, 'a client that pushes')
    }
  }

  #data(flags: number, id: number, payload: Buffer): void {
    if (id === 0 || id > this.#lastStream) throw new ConnectionError(H2.PROTOCOL, 'DATA of an idle stream')
    // The connection's bytes are given back as they come: one slow stream must not stop the others.
    this.#received += payload.length
    if (this.#received > CONNECTION_WINDOW / 2) {
      this.windowUpdate(0, this.#received)
      this.#received = 0
    }
    const stream = this.streams.get(id)
    if (stream && !stream.receive(unpad(flags, payload), payload.length, (flags & 1) !== 0))
      throw new ConnectionError(H2.FLOW_CONTROL, 'more than the window')
  }

  #headers(flags: number, part: Buffer): void {
    const block = this.#block as HeaderBlock
    block.size += part.length
    block.parts.push(Buffer.from(part))
    if (block.size > this.options.maxHeaderBlock || block.parts.length > 64) throw new ConnectionError(H2.CALM, 'a flood of headers')
    if (!(flags & 4)) return
    this.#block = undefined
    const bytes = block.parts.length === 1 ? (block.parts[0] as Buffer) : Buffer.concat(block.parts)
    const raw = this.#decoder.decode(bytes, this.options.maxHeaderBlock)
    const { stream: id } = block
    const ended = (block.flags & 1) !== 0
    const known = this.streams.get(id)
    if (known) return void known.receive(Buffer.alloc(0), 0, ended)
    if (id <= this.#lastStream) return
    if (this.#closing) return
    this.#lastStream = id
    if (!raw || this.streams.size >= this.options.maxStreams || this.queued > this.options.maxQueued) {
      this.frame(T.RST, 0, id, code(raw ? H2.REFUSED : H2.CALM))
      return
    }
    const stream = new Http2Stream(this, id, raw)
    this.streams.set(id, stream)
    if (!stream.wellFormed) return stream.reset(H2.PROTOCOL)
    this.#events.onStream(stream)
    if (ended) stream.receive(Buffer.alloc(0), 0, true)
  }

  #settings(flags: number, id: number, payload: Buffer): void {
    if (id !== 0 || payload.length % 6 !== 0) throw new ConnectionError(H2.FRAME_SIZE, 'SETTINGS')
    if (flags & 1) return
    const before = this.initialWindow
    for (let at = 0; at < payload.length; at += 6) {
      const value = payload.readUInt32BE(at + 2)
      switch (payload.readUInt16BE(at)) {
        case 4: {
          if (value > MAX_WINDOW) throw new ConnectionError(H2.FLOW_CONTROL, 'window too large')
          this.initialWindow = value
          break
        }
        case 5:
          if (value < MAX_FRAME || value > 0xffffff) throw new ConnectionError(H2.PROTOCOL, 'frame size')
          this.maxFrame = Math.min(value, 65_536)
      }
    }
    const change = this.initialWindow - before
    if (change !== 0) for (const stream of this.streams.values()) stream.more(change)
    this.#answer()
    this.frame(T.SETTINGS, 1, 0)
  }

  #answer(): void {
    if (++this.#answers > MAX_ANSWERS) throw new ConnectionError(H2.CALM, 'answers that nobody reads')
  }

  #countReset(): void {
    const now = performance.now()
    const { resetBurst, resetRate } = this.options
    this.#resets = Math.min(resetBurst, this.#resets + ((now - this.#resetsAt) / 1000) * resetRate) - 1
    this.#resetsAt = now
    if (this.#resets < 0) throw new ConnectionError(H2.CALM, 'too many resets')
  }
}

function flush(connection: Http2Connection): void {
  connection.flush()
}

function unpad(flags: number, payload: Buffer): Buffer {
  if (!(flags & 8)) return payload
  const padding = payload[0] ?? 0
  if (payload.length === 0 || padding >= payload.length) throw new ConnectionError(H2.PROTOCOL, 'padding')
  return payload.subarray(1, payload.length - padding)
}

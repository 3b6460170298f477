import type { Socket } from 'node:net'
import type { Output } from './output.ts'
import { ConnectionError, H2, MAX_FRAME, MAX_WINDOW } from './protocol.ts'

/** What a client says first: https://www.rfc-editor.org/rfc/rfc9113#section-3.4 */
export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
const NOTHING = Buffer.alloc(0)

/** What becomes of the frames that come. */
export interface FrameSink {
  readonly closed: boolean
  /** The payload is part of what was read: whoever keeps it copies it. */
  frame(type: number, flags: number, stream: number, payload: Buffer): void
  /** What came, or what `frame` threw, ends the connection. */
  broken(error: unknown): void
}

/** The way in of one connection: bytes become frames, and no more of them while the other side leaves our answers unread. */
export class Input {
  readonly #socket: Socket
  readonly #output: Output
  readonly #sink: FrameSink
  #rest: Buffer = NOTHING
  #greeted: boolean
  #stalled = false

  /** @param greeted Nothing stands before the first frame, as at a client. */
  constructor(socket: Socket, output: Output, sink: FrameSink, greeted = false) {
    this.#greeted = greeted
    this.#socket = socket
    this.#output = output
    this.#sink = sink
    socket.on('data', (chunk: Buffer) => this.#read(chunk))
    output.onDrain = () => this.#goOn()
  }

  /** Looks at nothing that still comes. */
  stop(): void {
    this.#rest = NOTHING
    this.#stalled = false
    this.#socket.removeAllListeners('data').resume()
  }

  #read(chunk: Buffer): void {
    if (this.#sink.closed) return
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    if (!this.#stalled) this.#parse()
  }

  /** The other side has read what it left unread. */
  #goOn(): void {
    if (!this.#stalled || this.#output.stalled || this.#sink.closed) return
    this.#stalled = false
    this.#parse()
    if (!this.#stalled) this.#socket.resume()
  }

  #parse(): void {
    try {
      this.#rest = this.#frames(this.#rest)
    } catch (error) {
      this.#sink.broken(error)
    }
  }

  /** Gives what is left over: the beginning of a frame. */
  #frames(bytes: Buffer): Buffer {
    let at = 0
    if (!this.#greeted) {
      const given = bytes.subarray(0, PREFACE.length)
      if (!given.equals(PREFACE.subarray(0, given.length))) throw new ConnectionError(H2.PROTOCOL, 'no HTTP/2')
      if (bytes.length < PREFACE.length) return bytes
      this.#greeted = true
      at = PREFACE.length
    }
    while (bytes.length - at >= 9) {
      if (this.#output.stalled) {
        this.#stalled = true
        this.#socket.pause()
        break
      }
      const length = ((bytes[at] as number) << 16) | ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number)
      if (length > MAX_FRAME) throw new ConnectionError(H2.FRAME_SIZE, `a frame of ${length} bytes`)
      if (bytes.length - at - 9 < length) break
      const start = at + 9
      at = start + length
      this.#sink.frame(
        bytes[start - 6] as number,
        bytes[start - 5] as number,
        bytes.readUInt32BE(start - 4) & MAX_WINDOW,
        bytes.subarray(start, at),
      )
      if (this.#sink.closed) return NOTHING
    }
    if (at === bytes.length) return NOTHING
    return at === 0 ? bytes : Buffer.from(bytes.subarray(at))
  }
}

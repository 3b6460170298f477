import type { Socket } from 'node:net'
import { allocated } from '../outside-heap.ts'
import { giveBack, pieceOf, pieceOfLength } from '../pieces.ts'
import type { Output } from './output.ts'
import { ConnectionError, H2, MAX_FRAME, MAX_WINDOW } from './protocol.ts'

/** What a client says first: https://www.rfc-editor.org/rfc/rfc9113#section-3.4 */
export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
const NOTHING = Buffer.alloc(0)

/** Bytes from which on a chunk is rather cut than copied to what came before it. */
const WORTH_CUTTING = 8192

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
  /** What comes is in memory that is not ours to keep. */
  readonly #borrowed: boolean
  /** The piece that the rest was copied to, where what comes is not ours to keep. */
  #copy: Buffer | undefined
  #stalled = false

  /**
   * @param greeted Nothing stands before the first frame, as at a client.
   * @param feed Gives what comes in memory that is used again; absent: the socket's `data` events.
   */
  constructor(socket: Socket, output: Output, sink: FrameSink, greeted = false, feed?: (read: (chunk: Buffer) => void) => void) {
    this.#greeted = greeted
    this.#borrowed = feed !== undefined
    this.#socket = socket
    this.#output = output
    this.#sink = sink
    const read = (chunk: Buffer) => this.#read(chunk)
    if (feed) feed(read)
    else socket.on('data', read)
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
    if (!this.#borrowed) allocated(chunk.length)
    if (this.#rest.length === 0) this.#rest = chunk
    else if (this.#stalled || !this.#complete(chunk)) this.#rest = this.#joined(this.#rest, chunk)
    if (!this.#stalled) this.#parse()
    if (this.#borrowed && this.#rest.buffer === chunk.buffer) this.#rest = this.#copy = pieceOf(this.#rest)
  }

  /** Puts only the frame together whose beginning came before; the rest of a large chunk is not copied. False: not worth it. */
  #complete(chunk: Buffer): boolean {
    const rest = this.#rest
    if (chunk.length < WORTH_CUTTING || rest.length < 9 || !this.#greeted) return false
    const missing = rest.readUIntBE(0, 3) + 9 - rest.length
    if (missing <= 0 || missing >= chunk.length) return false
    this.#rest = this.#joined(rest, chunk.subarray(0, missing))
    this.#parse()
    // Stopped in between, the frame waits with what comes after it.
    this.#rest = this.#rest.length === 0 ? chunk.subarray(missing) : this.#joined(this.#rest, chunk.subarray(missing))
    return true
  }

  #joined(begun: Buffer, more: Buffer): Buffer {
    if (!this.#borrowed) return Buffer.concat([begun, more])
    const whole = pieceOfLength(begun.length + more.length)
    whole.set(begun)
    whole.set(more, begun.length)
    if (this.#copy) giveBack(this.#copy)
    this.#copy = whole
    return whole
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
    // Whoever kept something of it has copied it.
    if (!this.#copy || this.#rest.buffer === this.#copy.buffer) return
    giveBack(this.#copy)
    this.#copy = undefined
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
    return at === 0 ? bytes : this.#borrowed ? bytes.subarray(at) : Buffer.from(bytes.subarray(at))
  }
}

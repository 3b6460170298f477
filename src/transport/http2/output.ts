import type { Socket } from 'node:net'
import { FLAG, MAX_FRAME, T } from './protocol.ts'

/** Bytes of replies that are written in one turn of the loop; the rest waits for the socket to take them. */
const MAX_TURN = 256 << 10
/** Bytes that the other side may leave unread before nothing more is read from it: each frame it sends may cost an answer. */
const MAX_UNSENT = 1 << 20

/** Who waits for room. */
export interface Waiter {
  flush(): void
}

/** The way out of one connection: what is written in one turn of the loop leaves in one write. */
export class Output {
  /** What the other side lets us send on the whole connection. */
  window = 65_535
  maxFrame = MAX_FRAME
  /** HEADERS or DATA went out since somebody set this back. */
  answered = false
  /** What was written is gone, or at least with the system. */
  onDrain: () => void = () => {}
  readonly #socket: Socket
  readonly #waiting = new Set<Waiter>()
  #parts: Buffer[] = []
  #bytes = 0
  #scheduled = false
  #full = false
  #ended = false

  constructor(socket: Socket) {
    this.#socket = socket
    socket.on('drain', () => this.#drained())
  }

  /** Bytes that are written and not gone. */
  get unsent(): number {
    return this.#bytes + this.#socket.writableLength
  }

  /** The other side leaves so much unread that it must not ask for more. */
  get stalled(): boolean {
    return this.#bytes + this.#socket.writableLength > MAX_UNSENT
  }

  /** Whether data may be written now. */
  get room(): boolean {
    return !this.#full && this.window > 0 && this.#bytes < MAX_TURN
  }

  /** Writes a frame with what else this turn of the loop brings. */
  frame(type: number, flags: number, stream: number, payload?: Buffer): void {
    if (this.#ended) return
    const length = payload?.length ?? 0
    const head = Buffer.allocUnsafe(9)
    head[0] = length >> 16
    head[1] = length >> 8
    head[2] = length
    head[3] = type
    head[4] = flags
    head.writeUInt32BE(stream, 5)
    this.#parts.push(head)
    if (payload && length > 0) this.#parts.push(payload)
    this.#bytes += length + 9
    if (type <= T.HEADERS) this.answered = true
    if (this.#scheduled) return
    this.#scheduled = true
    process.nextTick(flush, this)
  }

  /** Writes a header block, in as many frames as it needs. */
  headers(stream: number, block: Buffer, end: boolean): void {
    const last = end ? FLAG.END_STREAM : 0
    const most = this.maxFrame
    if (block.length <= most) return this.frame(T.HEADERS, last | FLAG.END_HEADERS, stream, block)
    this.frame(T.HEADERS, last, stream, block.subarray(0, most))
    let at = most
    for (; block.length - at > most; at += most) this.frame(T.CONTINUATION, 0, stream, block.subarray(at, at + most))
    this.frame(T.CONTINUATION, FLAG.END_HEADERS, stream, block.subarray(at))
  }

  flush(): void {
    this.#scheduled = false
    const parts = this.#parts
    if (parts.length === 0) return
    this.#parts = []
    const bytes = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts, this.#bytes)
    this.#bytes = 0
    if (!this.#socket.write(bytes)) this.#full = true
    else if (!this.#full) {
      if (this.#waiting.size > 0) this.wake()
      this.onDrain()
    }
  }

  /** Nothing is written after what is written so far. */
  end(): void {
    this.flush()
    this.#ended = true
    this.#socket.end()
  }

  /** Flushes a waiter when there is room again. */
  wait(waiter: Waiter): void {
    this.#waiting.add(waiter)
  }

  forget(waiter: Waiter): void {
    this.#waiting.delete(waiter)
  }

  wake(): void {
    for (const waiter of this.#waiting) {
      if (!this.room) return
      this.#waiting.delete(waiter)
      waiter.flush()
    }
  }

  #drained(): void {
    this.#full = false
    this.wake()
    this.onDrain()
  }
}

function flush(output: Output): void {
  output.flush()
}

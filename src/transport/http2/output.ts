import type { Socket } from 'node:net'
import { giveBack, isPiece, pieceOfLength } from '../pieces.ts'
import { FLAG, MAX_FRAME, T } from './protocol.ts'

/** Bytes that are written in one turn of the loop; the rest waits for the socket to take them. */
const MAX_TURN = 256 << 10
/** Bytes that the other side may leave unread before nothing more is read from it: each frame it sends may cost an answer. */
const MAX_UNSENT = 1 << 20

/** From so many bytes on they are written piece by piece; pieces below the second figure are put together all the same. */
const WORTH_PIECES = 32_768
const SMALL = 4096

/** Who waits for room. */
export interface Waiter {
  flush(): void
}

/** The way out of one connection: what is written in one turn of the loop leaves in one write. */
export class Output {
  /** What the other side lets us send on the whole connection. */
  window = 65_535
  maxFrame = MAX_FRAME
  /** Something of a stream was sent: HEADERS or DATA. For whoever sets it back. */
  answered = false
  /** What was written is gone, or at least with the system. */
  onDrain: () => void = () => {}
  readonly #socket: Socket
  readonly #waiting = new Set<Waiter>()
  #parts: Buffer[] = []
  #bytes = 0
  /** What of the parts is given back when the system has it, and what of the parts before them. */
  #lent: Buffer[] = []
  #sending: Buffer[] = []
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

  /** Writes a frame with what else this turn of the loop brings. `lent`: the payload's memory may be used again afterwards. */
  frame(type: number, flags: number, stream: number, payload?: Buffer, lent = false): void {
    if (this.#ended) return
    if (type <= T.HEADERS) this.answered = true
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
    if (payload && lent) this.#lent.push(payload)
    this.#bytes += length + 9
    this.#schedule()
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    process.nextTick(flush, this)
  }

  /** Writes what is no frame: a client's preface. */
  raw(bytes: Buffer): void {
    this.#parts.push(bytes)
    this.#bytes += bytes.length
    this.#schedule()
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
    const bytes = this.#bytes
    this.#bytes = 0
    const room = this.#write(parts, bytes)
    if (this.#lent.length > 0) {
      if (this.#sending.length === 0) this.#sending = this.#lent
      else this.#sending.push(...this.#lent)
      this.#lent = []
    }
    // Nearly always the system takes everything at once.
    if (this.#sending.length > 0 && this.#socket.writableLength === 0) this.#sent()
    if (!room) this.#full = true
    else if (!this.#full) {
      if (this.#waiting.size > 0) this.wake()
      this.onDrain()
    }
  }

  /** One write for the socket. What is large goes as it is, for copying it would cost more than the list of pieces does. */
  #write(parts: readonly Buffer[], bytes: number): boolean {
    if (parts.length === 1) return this.#socket.write(parts[0] as Buffer)
    if (bytes < WORTH_PIECES) return this.#socket.write(this.#together(parts, bytes))
    const socket = this.#socket
    let room = true
    let from = 0
    let small = 0
    socket.cork()
    for (let index = 0; index < parts.length; index++) {
      const part = parts[index] as Buffer
      if (part.length < SMALL) {
        small += part.length
        continue
      }
      if (small > 0) socket.write(index - from === 1 ? (parts[from] as Buffer) : Buffer.concat(parts.slice(from, index), small))
      room = socket.write(part)
      from = index + 1
      small = 0
    }
    if (small > 0) room = socket.write(Buffer.concat(parts.slice(from), small))
    socket.uncork()
    return room
  }

  #together(parts: readonly Buffer[], bytes: number): Buffer {
    const whole = pieceOfLength(bytes)
    let at = 0
    for (const part of parts) {
      whole.set(part, at)
      at += part.length
    }
    if (isPiece(whole)) this.#lent.push(whole)
    return whole
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

  #sent(): void {
    for (const bytes of this.#sending) giveBack(bytes)
    this.#sending = []
  }

  #drained(): void {
    this.#full = false
    this.#sent()
    this.wake()
    this.onDrain()
  }
}

function flush(output: Output): void {
  output.flush()
}

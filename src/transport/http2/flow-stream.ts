import type { IncomingHttpHeaders } from 'node:http2'
import { isPiece, pieceOf } from '../pieces.ts'
import type { Http2Endpoint } from './endpoint.ts'
import { HeldBytes } from './held-bytes.ts'
import { FLAG, H2, MAX_WINDOW, T, uint32 } from './protocol.ts'

/** Bytes that a stream takes from its writer before it asks it to wait. */
export const HIGH_WATER = 65_536

/** What of a connection a stream needs. */
export type StreamConnection = Pick<
  Http2Endpoint<FlowStream>,
  'output' | 'receiving' | 'borrowed' | 'streamWindow' | 'initialWindow' | 'queued' | 'windowUpdate' | 'resetByUs'
> & { forget(stream: FlowStream): void }

/**
 * The body of one stream, both ways: what is written waits for windows, what comes waits for its reader.
 * It is over when both sides have ended, or when one of them has reset it.
 */
export abstract class FlowStream {
  id = 0
  /** The other side has sent everything, and the sink has it. */
  readableEnded = false
  closed = false
  /** The other side has sent everything, whether the sink has it or not. */
  remoteEnded = false
  /** Absent: the stream has no place yet. */
  protected connection: StreamConnection | undefined
  protected localEnded = false
  /** Nothing is written after what waits: trailers go last, or the last frame ends the stream. */
  protected ending: Buffer | true | undefined
  protected blocked = false
  #window = 0
  /** Bytes that came since the other side was last given room. */
  #received = 0
  /** Bytes that must still come by the content-length. */
  #missing: number | undefined
  #paused = false
  #held: HeldBytes | undefined
  /** What waited is being handed over. */
  #delivering = false
  #queue: Buffer[] = []
  #queued = 0
  /** What of the queue is given back once it is sent. */
  #lent: Set<Buffer> | undefined

  /** Bytes that came. */
  protected abstract onData(chunk: Buffer): void
  /** The other side has sent everything. */
  protected abstract onRemoteEnd(): void
  protected abstract onDrained(): void
  protected abstract onGone(): void
  /** Everything is sent. */
  protected abstract onLocalEnd(): void

  protected attach(connection: StreamConnection, id: number): void {
    this.connection = connection
    this.id = id
    this.#window = connection.initialWindow
    connection.queued += this.#queued
  }

  protected expect(headers: IncomingHttpHeaders): void {
    const length = headers['content-length']
    if (length !== undefined) this.#missing = Number(length)
  }

  /** Takes what came; `counted` is its share of the windows. Gives the error that the stream is to be reset with, if any. */
  receive(bytes: Buffer, counted: number, ended: boolean): number {
    if (this.remoteEnded) return H2.STREAM_CLOSED
    const connection = this.connection as StreamConnection
    this.#received += counted
    if (this.#received > connection.streamWindow) return H2.FLOW_CONTROL
    if (this.#missing !== undefined) {
      this.#missing -= bytes.length
      if (this.#missing < 0 || (ended && this.#missing > 0)) return H2.PROTOCOL
    }
    if (ended) this.remoteEnded = true
    if (this.#paused || this.#held) {
      if (bytes.length === 0) return 0
      this.#held ??= new HeldBytes()
      this.#held.push(bytes)
      connection.receiving.hold(bytes.length)
      return 0
    }
    if (bytes.length > 0) this.onData(connection.borrowed ? pieceOf(bytes) : bytes)
    this.#afterData()
    return 0
  }

  /** The reader has what it gets for now: the other side may send as much again, whether the reader pauses or not. */
  #afterData(): void {
    if (this.closed) return
    const waits = this.#held?.size ?? 0
    if (this.remoteEnded) {
      if (!this.#paused && waits === 0) this.#endRead()
      return
    }
    const read = this.#received - waits
    const connection = this.connection as StreamConnection
    if (read < connection.streamWindow / 2) return
    connection.windowUpdate(this.id, read)
    this.#received = waits
  }

  #endRead(): void {
    if (this.readableEnded) return
    this.readableEnded = true
    this.onRemoteEnd()
    this.maybeOver()
  }

  /** Holds what comes back at the sender: at most one window of it comes. */
  pause(): void {
    this.#paused = true
  }

  resume(): void {
    if (!this.#paused || this.closed) return
    this.#paused = false
    // A reader that pauses and goes on while it has one piece gets the next when it is done with that.
    if (this.#delivering) return
    this.#delivering = true
    // In pieces, for each may be the one after which the reader pauses again.
    while (this.#held && !this.#paused && !this.closed) {
      const held: HeldBytes = this.#held
      const piece = held.take()
      this.connection?.receiving.release(piece.length)
      if (held.size === 0) this.#held = undefined
      this.onData(piece)
    }
    this.#delivering = false
    if (this.connection) this.#afterData()
  }

  /** False: wait until the sink hears `drained`. @param lent Nobody else looks at the bytes: their memory may be used again. */
  write(bytes: Buffer, lent = false): boolean {
    if (this.closed || this.ending || this.localEnded) return true
    if (lent && isPiece(bytes)) {
      this.#lent ??= new Set()
      this.#lent.add(bytes)
    }
    this.#enqueue(bytes)
    this.flush()
    if (this.#queued < HIGH_WATER) return true
    this.blocked = true
    return false
  }

  #enqueue(bytes: Buffer): void {
    this.#queue.push(bytes)
    this.#queued += bytes.length
    if (this.connection) this.connection.queued += bytes.length
  }

  /** Writes the last there is. @param ending Trailers, or true for none. */
  protected finish(bytes: Buffer | undefined, ending: Buffer | true): void {
    this.ending = ending
    // Whoever has ended hears of room no more.
    this.blocked = false
    if (bytes && bytes.length > 0) this.#enqueue(bytes)
    this.flush()
  }

  /** Sends what the windows allow. */
  flush(): void {
    const { connection } = this
    if (!connection) return
    const { output } = connection
    while (this.#queue.length > 0) {
      if (!output.room) return output.wait(this)
      if (this.#window <= 0) return
      const head = this.#queue[0] as Buffer
      const size = Math.min(head.length, this.#window, output.window, output.maxFrame)
      const lent = this.#lent?.delete(head) === true
      if (size === head.length) this.#queue.shift()
      else {
        const rest = head.subarray(size)
        this.#queue[0] = rest
        if (lent) this.#lent?.add(rest)
      }
      this.#window -= size
      output.window -= size
      connection.queued -= size
      this.#queued -= size
      const last = this.ending === true && this.#queue.length === 0
      if (size === head.length) output.frame(T.DATA, last ? FLAG.END_STREAM : 0, this.id, head, lent)
      else output.frame(T.DATA, 0, this.id, head.subarray(0, size))
      if (last) return this.#sent()
    }
    const { ending } = this
    if (ending) {
      if (ending === true) output.frame(T.DATA, FLAG.END_STREAM, this.id)
      else output.headers(this.id, ending, true)
      this.#sent()
    } else if (this.blocked) {
      this.blocked = false
      this.onDrained()
    }
  }

  #sent(): void {
    this.ending = undefined
    this.localEnded = true
    this.onLocalEnd()
  }

  /** Sends nothing more, for nobody wants it. */
  protected stopSending(): void {
    if (this.connection) this.connection.queued -= this.#queued
    this.#queue = []
    this.#queued = 0
    this.ending = undefined
    this.blocked = false
    this.localEnded = true
  }

  /** The other side lets us send more, or less. False: more than there can be. */
  more(bytes: number): boolean {
    this.#window += bytes
    if (this.#window > MAX_WINDOW) return false
    if (this.#window > 0) this.flush()
    return true
  }

  protected maybeOver(): void {
    if (this.localEnded && this.remoteEnded) this.gone()
  }

  reset(error: number): void {
    if (this.closed) return
    this.connection?.output.frame(T.RST, 0, this.id, uint32(error))
    this.connection?.resetByUs(this.id)
    this.gone()
  }

  /** The stream is over, on whichever side's wish. */
  gone(): void {
    if (this.closed) return
    this.closed = true
    const { connection } = this
    if (connection) {
      connection.queued -= this.#queued
      if (this.#held) connection.receiving.release(this.#held.size)
    }
    this.#queue = []
    this.#queued = 0
    this.#lent = undefined
    this.ending = undefined
    this.#held = undefined
    connection?.forget(this)
    this.onGone()
  }
}

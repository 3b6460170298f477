import { type FileHandle, open } from 'node:fs/promises'
import type { Logger } from '../../../telemetry/log.ts'
import type { LogEvent } from '../event.ts'
import { eventsOf, HEAD, isWhole, readHead } from './chunk.ts'
import { pathOf } from './segments.ts'

/** A place in the buffer: a segment, and bytes into it. */
export interface Cursor {
  segment: number
  offset: number
}

export interface ReaderOptions {
  folder: string
  log: Logger
  cursor: Cursor
  /** Bytes of a segment that are written; undefined: there is no such segment. */
  end(segment: number): number | undefined
  /** The segment after this one. */
  next(segment: number): number | undefined
  /** The cursor has moved. */
  committed(): void
}

/** Events of some chunks, and the place behind them. */
export interface Batch {
  events: LogEvent[]
  /** Bytes they take in the buffer. */
  bytes: number
  end: Cursor
}

const BLOCK = 256 * 1024

/** Reads the buffer for one output. The cursor is what is settled; reading runs ahead of it. */
export class BufferReader {
  readonly #options: ReaderOptions
  #cursor: Cursor
  #ahead: Cursor
  #file: { segment: number; handle: FileHandle } | undefined
  #block = Buffer.alloc(0)
  /** Chunks that could not be read, for good. */
  broken = 0

  constructor(options: ReaderOptions) {
    this.#options = options
    this.#cursor = options.cursor
    this.#ahead = options.cursor
  }

  get cursor(): Cursor {
    return this.#cursor
  }

  /** Adds what comes next to a batch: at most one block. False: nothing is there. */
  async read(batch: Batch, wanted: (tag: string) => boolean): Promise<boolean> {
    const { end, next } = this.#options
    for (;;) {
      const { segment, offset } = this.#ahead
      const size = end(segment)
      if (size !== undefined && offset + HEAD <= size) return this.#readChunks(batch, wanted, size)
      const following = next(segment)
      if (following === undefined) return false
      this.#ahead = { segment: following, offset: 0 }
      batch.end = this.#ahead
    }
  }

  /** Everything up to here is settled. */
  commit(end: Cursor): void {
    this.#cursor = end
    this.#options.committed()
  }

  /** An empty batch where reading is. */
  begin(): Batch {
    return { events: [], bytes: 0, end: this.#ahead }
  }

  async #readChunks(batch: Batch, wanted: (tag: string) => boolean, size: number): Promise<boolean> {
    const { segment, offset } = this.#ahead
    let block = await this.#load(segment, offset, Math.min(BLOCK, size - offset))
    let at = 0
    while (at + HEAD <= block.length) {
      const head = readHead(block, at)
      if (!head || offset + at + HEAD + head.length > size) return this.#skipBroken(batch, segment, offset + at)
      if (at + HEAD + head.length > block.length) {
        if (at > 0) break
        block = await this.#load(segment, offset, HEAD + head.length)
      }
      const body = block.subarray(at + HEAD, at + HEAD + head.length)
      if (!isWhole(head, body)) return this.#skipBroken(batch, segment, offset + at)
      eventsOf(head, body, `${segment}-${offset + at}`, wanted, batch.events)
      at += HEAD + head.length
    }
    batch.bytes += at
    batch.end = this.#ahead = { segment, offset: offset + at }
    return true
  }

  /** The rest of a damaged segment cannot be read: it is told, and the next one goes on. */
  #skipBroken(batch: Batch, segment: number, offset: number): boolean {
    const { folder, log, end } = this.#options
    const size = end(segment) ?? offset
    this.broken++
    log.error(`${pathOf(folder, segment)} is damaged from byte ${offset} on: ${size - offset} bytes of events are lost`)
    batch.end = this.#ahead = { segment, offset: size }
    return true
  }

  async #load(segment: number, offset: number, length: number): Promise<Buffer> {
    if (this.#file?.segment !== segment) {
      await this.#file?.handle.close()
      this.#file = undefined
      this.#file = { segment, handle: await open(pathOf(this.#options.folder, segment), 'r') }
    }
    if (this.#block.length < length || this.#block.length > BLOCK * 4) this.#block = Buffer.allocUnsafe(Math.max(BLOCK, length))
    const { bytesRead } = await this.#file.handle.read(this.#block, 0, length, offset)
    return this.#block.subarray(0, bytesRead)
  }

  async close(): Promise<void> {
    await this.#file?.handle.close()
    this.#file = undefined
    this.#block = Buffer.alloc(0)
  }
}

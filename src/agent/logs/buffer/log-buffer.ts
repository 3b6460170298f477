import { type FileHandle, open as openFile, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf } from '../../../errors.ts'
import type { Logger } from '../../../telemetry/log.ts'
import { pause } from '../../../waiting.ts'
import type { LogEvent } from '../event.ts'
import { encodeChunk, type Positions } from './chunk.ts'
import { BufferReader, type Cursor } from './reader.ts'
import { apply, pathOf, recover, replaceFile, type Segment } from './segments.ts'
import { Changes } from './signal.ts'

export interface BufferOptions {
  folder: string
  maxBytes: number
  segmentBytes: number
  /** Flush the disk after each write. */
  flush: boolean
  log: Logger
  /** A write fails (and is tried again), or works again. */
  report?(error: unknown): void
}

interface Waiting {
  bytes: Buffer
  positions: Positions | undefined
  resolve(): void
  reject(error: Error): void
}

/** Bytes of one write. */
const WRITE = 1 << 20
const RETRY = 1000

/**
 * Events between sources and outputs: one log in segment files, to whose end everything is appended, and from which each output
 * reads at its own pace. A segment goes when all have read it. What `append` resolved for survives the end of the process.
 * Bounded by bytes on disk and waiting to get there: past it `full` is true, and sources wait or refuse.
 */
export class LogBuffer implements AsyncDisposable {
  readonly #options: BufferOptions
  readonly #segments: Segment[]
  readonly #positions: Map<string, unknown>
  readonly #cursors: Map<string, Cursor>
  readonly #readers = new Map<string, BufferReader>()
  readonly #stop = new AbortController()
  /** Fires when there is more to read. */
  readonly written = new Changes()
  /** Fires when there is room again. */
  readonly freed = new Changes()
  #queue: Waiting[] = []
  #queued = 0
  #file: FileHandle | undefined
  #writing: Promise<void> | undefined
  #saving: Promise<void> | undefined
  #unsaved = false
  #failing = false

  private constructor(options: BufferOptions, segments: Segment[], positions: Map<string, unknown>, cursors: Map<string, Cursor>) {
    this.#options = options
    this.#segments = segments
    this.#positions = positions
    this.#cursors = cursors
  }

  /** Opens the folder and goes on where the last process stopped, however it did. */
  static async open(options: BufferOptions): Promise<LogBuffer> {
    const { segments, positions, cut } = await recover(options.folder)
    if (cut > 0) options.log.info(`${cut} bytes of a write that was broken off are cut from the buffer; their source reads them again`)
    const text = await readFile(join(options.folder, 'cursors.json'), 'utf8').catch(() => '{}')
    let cursors: Map<string, Cursor>
    try {
      cursors = new Map(Object.entries(JSON.parse(text) as Record<string, Cursor>))
    } catch {
      options.log.warn(`${options.folder}/cursors.json is damaged: outputs begin with the oldest event, some come twice`)
      cursors = new Map()
    }
    return new LogBuffer(options, segments, positions, cursors)
  }

  /** Where sources are, as of the last append. */
  get positions(): ReadonlyMap<string, unknown> {
    return this.#positions
  }

  /** On disk and waiting to get there. */
  get bytes(): number {
    return this.#queued + this.#segments.reduce((sum, { size }) => sum + size, 0)
  }

  get full(): boolean {
    return this.#failing || this.bytes >= this.#options.maxBytes
  }

  /** Resolves when there is room, or the signal aborts. */
  async room(signal: AbortSignal): Promise<void> {
    while (this.full && !signal.aborted) await this.freed.next(signal, RETRY)
  }

  /** Resolves when the events are on disk, with the positions of their source. Does not look at the bound. Rejects when the buffer closes first. */
  append(events: readonly LogEvent[], positions?: Positions): Promise<void> {
    if (this.#stop.signal.aborted) return Promise.reject(new Error('the buffer is closed'))
    const bytes = encodeChunk(events, positions)
    this.#queued += bytes.length
    return new Promise((resolve, reject) => {
      this.#queue.push({ bytes, positions, resolve, reject })
      this.#writing ??= this.#write().finally(() => {
        this.#writing = undefined
      })
    })
  }

  /** The place of one output. One that was not there before begins with the oldest event that is kept. */
  reader(name: string): BufferReader {
    const oldest = { segment: this.#segments[0]?.number ?? 1, offset: 0 }
    const known = this.#cursors.get(name)
    const cursor = known && known.segment >= oldest.segment ? known : oldest
    const reader = new BufferReader({
      folder: this.#options.folder,
      log: this.#options.log,
      cursor,
      end: (segment) => this.#segments.find(({ number }) => number === segment)?.size,
      next: (segment) => this.#segments.find(({ number }) => number > segment)?.number,
      committed: () => this.#committed(),
    })
    this.#readers.set(name, reader)
    return reader
  }

  async #write(): Promise<void> {
    while (this.#queue.length > 0) {
      const group: Waiting[] = []
      let size = 0
      while (this.#queue.length > 0 && size < WRITE) {
        const next = this.#queue.shift() as Waiting
        group.push(next)
        size += next.bytes.length
      }
      for (;;) {
        try {
          await this.#writeGroup(group, size)
          break
        } catch (error) {
          this.#options.report?.(error)
          if (!this.#failing) this.#options.log.error(`the buffer cannot be written: ${messageOf(error)}; sources wait until it can`)
          this.#failing = true
          await pause(RETRY, this.#stop.signal)
          if (this.#stop.signal.aborted) {
            for (const { reject } of [...group, ...this.#queue.splice(0)])
              reject(new Error(`the buffer cannot be written: ${messageOf(error)}`))
            return
          }
        }
      }
      if (this.#failing) this.#options.report?.(undefined)
      this.#failing = false
      this.#queued -= size
      for (const { resolve } of group) resolve()
      this.written.fire()
    }
  }

  async #writeGroup(group: readonly Waiting[], size: number): Promise<void> {
    const { segmentBytes, flush } = this.#options
    let last = this.#segments.at(-1)
    if (!last || last.size + size > segmentBytes) last = await this.#roll(last)
    this.#file ??= await openFile(pathOf(this.#options.folder, last.number), 'r+')
    const bytes = group.length === 1 ? (group[0] as Waiting).bytes : Buffer.concat(group.map((each) => each.bytes))
    // At its place, so that a write which was broken off is written over.
    for (let done = 0; done < size; ) done += (await this.#file.write(bytes, done, size - done, last.size + done)).bytesWritten
    if (flush) await this.#file.datasync()
    for (const { positions } of group) apply(this.#positions, positions)
    last.size += size
  }

  /** A new segment, which begins with all positions: what came before may go. */
  async #roll(last: Segment | undefined): Promise<Segment> {
    await this.#file?.close()
    this.#file = undefined
    const number = (last?.number ?? Math.max(0, ...[...this.#cursors.values()].map(({ segment }) => segment))) + 1
    const file = await openFile(pathOf(this.#options.folder, number), 'w', 0o600)
    const head = encodeChunk([], Object.fromEntries(this.#positions))
    try {
      await file.write(head, 0, head.length, 0)
    } catch (error) {
      await file.close()
      await rm(pathOf(this.#options.folder, number), { force: true })
      throw error
    }
    this.#file = file
    const fresh = { number, size: head.length }
    this.#segments.push(fresh)
    return fresh
  }

  #committed(): void {
    const places = [...this.#readers.values()].map(({ cursor }) => cursor.segment)
    const needed = Math.min(...places)
    let removed = false
    while (this.#segments.length > 1 && (this.#segments[0] as Segment).number < needed) {
      const { number } = this.#segments.shift() as Segment
      removed = true
      rm(pathOf(this.#options.folder, number), { force: true }).catch((error: unknown) =>
        this.#options.log.warn(`a part of the buffer that is no more needed cannot be removed: ${messageOf(error)}`),
      )
    }
    if (removed) this.freed.fire()
    this.#unsaved = true
    this.#saving ??= this.#save().finally(() => {
      this.#saving = undefined
    })
  }

  async #save(): Promise<void> {
    while (this.#unsaved) {
      this.#unsaved = false
      const cursors = Object.fromEntries([...this.#readers].map(([name, { cursor }]) => [name, cursor]))
      try {
        await replaceFile(join(this.#options.folder, 'cursors.json'), JSON.stringify(cursors))
      } catch (error) {
        this.#options.log.warn(`the outputs' places in the buffer cannot be noted: ${messageOf(error)}; after a restart events come twice`)
      }
    }
  }

  /** Writes what was appended, and ends. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#writing
    await this.#saving
    await this.#file?.close()
    for (const reader of this.#readers.values()) await reader.close()
  }
}

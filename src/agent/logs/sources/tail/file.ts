import { fstatSync } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { Assembler, type AssemblerOptions, type Group } from './assembler.ts'
import { splitLines } from './lines.ts'
import { beginsAs, bornAt, type Place, readHead } from './place.ts'

/** What came of reading once. */
export interface Part {
  groups: Group[]
  /** Where the file is to be read from when all of it is kept. */
  place: Place
}

/** One file that is followed by its handle, whatever becomes of its name. */
export class FollowedFile implements AsyncDisposable {
  /** Under which name it was found first. */
  readonly path: string
  readonly dev: number
  readonly ino: number
  readonly #born: number
  readonly #handle: FileHandle
  readonly #maxLine: number
  readonly #assembler: Assembler
  #groups: Group[] = []
  #offset: number
  #head = { head: 0, crc: 0 }
  /** Size and time of change when there was nothing more to read. */
  #seen = { size: -1, changed: -1 }
  /** Since when no pattern names it, as performance.now(); undefined: one does. */
  gone: number | undefined
  /** When something was read last. */
  active = performance.now()
  truncations = 0
  #kept: number

  private constructor(path: string, handle: FileHandle, offset: number, maxLine: number, assembler: AssemblerOptions) {
    const stats = fstatSync(handle.fd)
    this.path = path
    this.dev = stats.dev
    this.ino = stats.ino
    this.#born = bornAt(stats)
    this.#handle = handle
    this.#offset = offset
    this.#kept = offset
    this.#maxLine = maxLine
    this.#assembler = new Assembler(assembler, (group) => this.#groups.push(group))
  }

  /** Goes on at a place when the file still begins as it did then, otherwise at its start. */
  static async open(
    path: string,
    handle: FileHandle,
    place: Place | undefined,
    maxLine: number,
    assembler: AssemblerOptions,
  ): Promise<FollowedFile> {
    const { size } = await handle.stat()
    const same = place !== undefined && place.offset <= size && (await beginsAs(handle, place))
    const file = new FollowedFile(path, handle, same ? place.offset : 0, maxLine, assembler)
    if (same) file.#head = { head: place.head, crc: place.crc }
    return file
  }

  /** Passes over what is there. */
  async skip(): Promise<Place> {
    this.#offset = this.#kept = (await this.#handle.stat()).size
    this.#head = await readHead(this.#handle, this.#offset)
    return this.#place(this.#offset)
  }

  /** Where it is read from next. */
  get place(): Place {
    return this.#place(this.#offset)
  }

  /** Bytes that are not yet read. */
  get behind(): number {
    return Math.max(0, fstatSync(this.#handle.fd).size - this.#offset)
  }

  /** Reads up to one block into `space`; undefined: there is nothing new. */
  async read(space: Buffer): Promise<Part | undefined> {
    const { size, mtimeMs } = fstatSync(this.#handle.fd)
    if (size === this.#seen.size && mtimeMs === this.#seen.changed) return undefined
    // A file that was cut may already be longer than before.
    if (size < this.#offset || !(await beginsAs(this.#handle, this.#head))) await this.#restart()
    const { bytesRead } = await this.#handle.read(space, 0, space.length, this.#offset)
    const now = performance.now()
    const used = splitLines(space.subarray(0, bytesRead), this.#maxLine, (text, start, _end, partial) =>
      this.#assembler.line(text, this.#offset + start, partial, now),
    )
    if (bytesRead < space.length) this.#seen = { size, changed: mtimeMs }
    if (used === 0) return undefined
    this.active = now
    this.#offset += used
    if (this.#head.head < 256) this.#head = await readHead(this.#handle, this.#offset)
    return this.#part()
  }

  /** Lines that waited too long for others. */
  flush(before: number): Part | undefined {
    this.#assembler.flush(before)
    return this.#groups.length > 0 ? this.#part() : undefined
  }

  /** The rest of a file to which nobody writes any more, its last line without end included. */
  async finish(space: Buffer): Promise<Part> {
    const { bytesRead } = await this.#handle.read(space, 0, space.length, this.#offset)
    if (bytesRead > 0) this.#assembler.line(space.toString('utf8', 0, bytesRead), this.#offset, false, 0)
    this.#offset += bytesRead
    this.#assembler.flush(Number.POSITIVE_INFINITY)
    return this.#part()
  }

  /** Whether there is something new to keep of a part. */
  isNews({ groups, place }: Part): boolean {
    return groups.length > 0 || place.offset !== this.#kept
  }

  kept({ place }: Part): void {
    this.#kept = place.offset
  }

  async #restart(): Promise<void> {
    this.truncations++
    this.#assembler.flush(Number.POSITIVE_INFINITY)
    this.#offset = 0
    this.#head = { head: 0, crc: 0 }
  }

  #part(): Part {
    const groups = this.#groups
    this.#groups = []
    return { groups, place: this.#place(this.#assembler.pending ?? this.#offset) }
  }

  #place(offset: number): Place {
    return { path: this.path, dev: this.dev, ino: this.ino, offset, ...this.#head, born: this.#born }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close()
  }
}

import { type FSWatcher, watch } from 'node:fs'
import { open, readFile } from 'node:fs/promises'
import { messageOf } from '../../../../errors.ts'
import { pause } from '../../../../waiting.ts'
import { Changes } from '../../buffer/signal.ts'
import type { Intake, Source } from '../../intake.ts'
import type { TailSpec } from '../../spec.ts'
import { bytesOf, milliseconds } from '../../values.ts'
import type { AssemblerOptions } from './assembler.ts'
import { type EventMaker, eventMaker } from './events.ts'
import { FollowedFile, type Part } from './file.ts'
import { type Found, findFiles, findMoved, folderOf } from './find.ts'
import { fluentdPlaces } from './fluentd-positions.ts'
import { type Place, placeKey, placesOf } from './place.ts'

/** One read. */
const BLOCK = 256 * 1024
/** Blocks of one file before the next one has its turn. */
const TURN = 4
/** After a change, so that lines which come one by one are read many at a time; milliseconds. */
const GATHER = 5
/** Folders whose changes are heard at once; further ones are looked at every `poll`. */
const WATCHED = 64
/** Files that are remembered after they were closed. */
const FINISHED = 1000

interface Followed {
  file: FollowedFile
  make: EventMaker
}

/**
 * Follows files: finding → reading → (gone → finished). Two loops, so that files are found and held open also while the buffer has
 * no room: what is rotated away meanwhile is read later.
 */
export class Tail implements Source {
  readonly #name: string
  readonly #tag: string
  readonly #spec: TailSpec
  readonly #intake: Intake
  readonly #stop = new AbortController()
  /** Something was written. */
  readonly #changes = new Changes()
  /** A file came or went. */
  readonly #names = new Changes()
  readonly #files = new Map<string, Followed>()
  /** Files that were read to their end and closed, the last ones of them. */
  readonly #finished = new Set<string>()
  readonly #watchers = new Map<string, FSWatcher>()
  readonly #space: Buffer
  readonly #maxLine: number
  readonly #poll: number
  readonly #rotateWait: number
  readonly #groupWait: number
  readonly #assembler: AssemblerOptions
  /** Places of the last process that no file has taken up yet. */
  #places: Map<string, Place>
  #fromEnd: boolean
  #waiting = 0
  #running: Promise<unknown> | undefined

  private constructor(name: string, tag: string, spec: TailSpec, intake: Intake) {
    this.#name = name
    this.#tag = tag
    this.#spec = spec
    this.#intake = intake
    this.#maxLine = bytesOf(spec.maxLine, 256 * 1024)
    this.#space = Buffer.allocUnsafe(Math.max(BLOCK, this.#maxLine + 8))
    this.#poll = milliseconds(spec.poll, 250)
    this.#rotateWait = milliseconds(spec.rotateWait, 5000)
    const { multiline, format } = spec
    this.#groupWait = milliseconds(multiline?.timeout, 1000)
    this.#assembler = {
      container: format === 'cri' || format === 'docker' ? format : undefined,
      multiline: multiline && {
        start: multiline.start === undefined ? undefined : new RegExp(multiline.start),
        continue: multiline.continue === undefined ? undefined : new RegExp(multiline.continue),
        maxLines: multiline.maxLines ?? 1000,
      },
      maxLength: this.#maxLine,
    }
    this.#places = placesOf(name, intake.positions())
    this.#fromEnd = spec.from === 'end' && this.#places.size === 0
  }

  /** Resolves when the files that are there are found; rejects for a format that makes no sense. */
  static async open(name: string, tag: string, spec: TailSpec, intake: Intake): Promise<Tail> {
    eventMaker(spec, tag, '')
    const tail = new Tail(name, tag, spec, intake)
    if (spec.positions !== undefined) tail.#adopt(await readFile(spec.positions, 'utf8').catch(() => ''))
    await tail.#find()
    await tail.#findMoved()
    tail.#fromEnd = false
    tail.#running = Promise.all([tail.#finding(), tail.#reading()])
    return tail
  }

  #adopt(text: string): void {
    for (const place of fluentdPlaces(text))
      if (![...this.#places.values()].some(({ ino, path }) => ino === place.ino && path === place.path))
        this.#places.set(`fluentd|${place.path}`, place)
  }

  async #finding(): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      const seen = this.#names.count
      try {
        await this.#find()
      } catch (error) {
        this.#intake.log.warn(`tail ${this.#name}: files cannot be looked for: ${messageOf(error)}`)
      }
      await this.#names.next(signal, this.#poll, seen)
    }
  }

  async #find(): Promise<void> {
    for (const pattern of this.#spec.paths) this.#watch(folderOf(pattern))
    const found = await findFiles(this.#spec.paths, this.#spec.exclude ?? [])
    const there = new Set<string>()
    const before = [...this.#files.values()].map(({ file }) => file.place)
    let waiting = 0
    let fresh = 0
    for (const each of found) {
      const id = `${each.stats.dev}:${each.stats.ino}`
      there.add(id)
      if (this.#files.has(id)) continue
      fresh++
      if (!(await this.#follow(each))) waiting++
    }
    if (waiting > 0 && this.#waiting === 0)
      this.#intake.log.warn(`tail ${this.#name}: ${waiting} files wait until others go: ${this.#files.size} are open (maxFiles)`)
    this.#waiting = waiting
    // Several may have come and gone since files were looked for last.
    if (fresh > 0 && before.length > 0) await this.#followMoved(before)
    for (const [id, { file }] of this.#files) {
      if (there.has(id)) file.gone = undefined
      else file.gone ??= performance.now()
    }
  }

  /** Files that were moved aside since these places were current, and are not known yet. */
  async #followMoved(places: readonly Place[]): Promise<Place[]> {
    const { moved, gone } = await findMoved(places, new Set([...this.#files.keys(), ...this.#finished]))
    for (const each of moved) await this.#follow(each)
    return gone
  }

  /** What was moved aside while no process of ours ran is read to its end. */
  async #findMoved(): Promise<void> {
    const gone = await this.#followMoved([...this.#places.values()])
    await this.#find()
    const lost = Object.fromEntries(gone.map((place) => [placeKey(this.#name, place), null]))
    if (gone.length > 0) await this.#intake.take([], lost)
    this.#places = new Map()
  }

  /** False: there is no room for it. */
  async #follow({ path, was = path, stats }: Found): Promise<boolean> {
    if (this.#files.size >= (this.#spec.maxFiles ?? 256)) return false
    const handle = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') this.#intake.log.warn(`tail ${this.#name}: ${messageOf(error)}`)
      return undefined
    })
    if (!handle) return true
    try {
      const place = this.#placeOf(was, stats)
      const file = await FollowedFile.open(was, handle, place, this.#maxLine, this.#assembler)
      const id = `${file.dev}:${file.ino}`
      // Its number is used again.
      this.#finished.delete(id)
      if (this.#files.has(id)) {
        await file[Symbol.asyncDispose]()
        return true
      }
      const key = placeKey(this.#name, file)
      if (this.#fromEnd) await this.#intake.take([], { [key]: await file.skip() })
      else if (place && !this.#places.has(key)) await this.#intake.take([], { [key]: { ...place, dev: file.dev } })
      this.#files.set(id, { file, make: eventMaker(this.#spec, this.#tag, was) })
      this.#watch(folderOf(path))
      this.#changes.fire()
    } catch (error) {
      await handle.close().catch(() => undefined)
      throw error
    }
    return true
  }

  /** By its number on its disk; a disk may have another number after a restart of the machine. */
  #placeOf(path: string, { dev, ino }: { dev: number; ino: number }): Place | undefined {
    const known = this.#places.get(placeKey(this.#name, { dev, ino }))
    return known ?? [...this.#places.values()].find((one) => one.ino === ino && one.path === path)
  }

  #watch(folder: string): void {
    if (this.#watchers.has(folder) || this.#watchers.size >= WATCHED) return
    try {
      const watcher = watch(folder, { persistent: false }, (kind) => {
        if (kind === 'rename') this.#names.fire()
        this.#changes.fire()
      })
      // Without it files are still looked at every `poll`.
      watcher.on('error', () => {
        watcher.close()
        this.#watchers.delete(folder)
      })
      this.#watchers.set(folder, watcher)
    } catch {}
  }

  async #reading(): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      const seen = this.#changes.count
      let busy = false
      try {
        for (const followed of [...this.#files.values()]) {
          if (signal.aborted) return
          if (await this.#read(followed)) busy = true
        }
      } catch (error) {
        if (signal.aborted) return
        this.#intake.log.warn(`tail ${this.#name}: ${messageOf(error)}; it is tried again`)
        busy = false
      }
      if (busy) continue
      await this.#changes.next(signal, this.#poll, seen)
      await pause(GATHER, signal)
    }
  }

  /** A few blocks of one file; false: there was nothing. */
  async #read(followed: Followed): Promise<boolean> {
    const { file } = followed
    const { signal } = this.#stop
    for (let turn = 0; turn < TURN; turn++) {
      await this.#intake.room(signal)
      if (signal.aborted) return false
      const part = await file.read(this.#space)
      if (!part) {
        const waited = file.flush(performance.now() - this.#groupWait)
        if (waited) await this.#take(followed, waited)
        await this.#finishIfGone(followed)
        return turn > 0
      }
      await this.#take(followed, part)
    }
    return true
  }

  async #take(followed: Followed, part: Part): Promise<void> {
    const { file, make } = followed
    if (!file.isNews(part)) return
    const { events, unparsed } = make(part.groups)
    if (unparsed > 0) this.#intake.unparsed(unparsed)
    await this.#intake.take(events, { [placeKey(this.#name, file)]: part.place })
    file.kept(part)
  }

  /** A file that no name leads to any more, and that nobody has written to for a while. */
  async #finishIfGone({ file, make }: Followed): Promise<void> {
    const now = performance.now()
    if (file.gone === undefined || now - file.gone < this.#rotateWait || now - file.active < this.#rotateWait) return
    const { events, unparsed } = make((await file.finish(this.#space)).groups)
    if (unparsed > 0) this.#intake.unparsed(unparsed)
    await this.#intake.take(events, { [placeKey(this.#name, file)]: null })
    this.#files.delete(`${file.dev}:${file.ino}`)
    this.#finished.add(`${file.dev}:${file.ino}`)
    if (this.#finished.size > FINISHED)
      for (const oldest of this.#finished) {
        this.#finished.delete(oldest)
        break
      }
    await file[Symbol.asyncDispose]()
  }

  status() {
    let behind = 0
    for (const { file } of this.#files.values()) behind += file.behind
    return { files: this.#files.size, behind, ...(this.#waiting > 0 && { waiting: this.#waiting }) }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    for (const watcher of this.#watchers.values()) watcher.close()
    await this.#running
    for (const { file } of this.#files.values()) await file[Symbol.asyncDispose]()
    this.#files.clear()
  }
}

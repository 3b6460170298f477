import { type FSWatcher, lstatSync, readdirSync, type Stats, watch } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import type { Value } from './fields.ts'

export type FileEventType = 'openat' | 'unlinkat' | 'fchmodat' | 'fchownat'
export type OnFile = (type: FileEventType, path: string) => void

const MOST_FOLDERS = 1000
const MOST_FILES = 50_000
/** Milliseconds between looks for what is to be watched and is not there. */
const LOOK = 1000

type Seen = Pick<Stats, 'mtimeMs' | 'size' | 'mode' | 'uid' | 'gid' | 'ino'>

/** Changes of files, told by the kernel (inotify): written, made, removed, given another mode or owner. By whom is not told, nor who reads. */
export class FileWatch implements Disposable {
  readonly #wanted: readonly { path: string; recursive: boolean }[]
  readonly #onFile: OnFile
  readonly #folders = new Map<string, { watcher: FSWatcher; only: Set<string> | undefined; recursive: boolean }>()
  readonly #seen = new Map<string, Seen>()
  readonly #timer: NodeJS.Timeout
  /** Folders and files beyond what is watched. */
  left = 0

  constructor(wanted: readonly { path: string; recursive?: boolean }[], onFile: OnFile) {
    this.#wanted = wanted.map(({ path, recursive = false }) => ({ path: resolve(path), recursive }))
    this.#onFile = onFile
    this.#missing(false)
    this.#timer = setInterval(() => this.#missing(true), LOOK).unref()
  }

  get size(): number {
    return this.#seen.size
  }

  /** What is wanted and is not there yet. */
  get missing(): string[] {
    return this.#wanted
      .filter(({ path }) => !this.#folders.has(path) && !this.#folders.get(dirname(path))?.only?.has(basename(path)))
      .map(({ path }) => path)
  }

  #missing(tell: boolean): void {
    const missing = new Set(this.missing)
    for (const { path, recursive } of this.#wanted) {
      if (!missing.has(path)) continue
      const stats = lstatSync(path, { throwIfNoEntry: false })
      if (!stats) continue
      // A file is watched by its folder: whoever replaces it gives it another inode.
      if (stats.isDirectory()) this.#folder(path, recursive, undefined, tell)
      else this.#folder(dirname(path), false, basename(path), tell)
    }
  }

  #folder(path: string, recursive: boolean, only: string | undefined, tell: boolean): void {
    const known = this.#folders.get(path)
    if (known) {
      if (only === undefined) known.only = undefined
      else known.only?.add(only)
    } else {
      if (this.#folders.size >= MOST_FOLDERS) return void this.left++
      try {
        const watcher = watch(path, { persistent: false }, (_, name) => name && this.#changed(path, name))
        watcher.on('error', () => this.#forget(path))
        this.#folders.set(path, { watcher, only: only === undefined ? undefined : new Set([only]), recursive })
      } catch {
        return
      }
    }
    let names: string[] = []
    try {
      names = only === undefined ? readdirSync(path) : [only]
    } catch {
      // Gone again.
    }
    for (const name of names) this.#look(join(path, name), recursive, tell)
  }

  #forget(path: string): void {
    this.#folders.get(path)?.watcher.close()
    this.#folders.delete(path)
  }

  #changed(folder: string, name: string): void {
    const known = this.#folders.get(folder)
    if (!known || (known.only && !known.only.has(name))) return
    this.#look(join(folder, name), known.recursive, true)
    if (!lstatSync(folder, { throwIfNoEntry: false })) this.#forget(folder)
  }

  #look(path: string, recursive: boolean, tell: boolean): void {
    const before = this.#seen.get(path)
    const now = statOf(path)
    if (!now) {
      if (!before) return
      this.#seen.delete(path)
      if (this.#folders.has(path)) this.#forget(path)
      if (tell) this.#onFile('unlinkat', path)
      return
    }
    if (now.isDirectory()) {
      if (recursive && !this.#folders.has(path)) this.#folder(path, true, undefined, tell)
    }
    if (!before && this.#seen.size >= MOST_FILES) return void this.left++
    this.#seen.set(path, now)
    if (!tell) return
    if (!before) return this.#onFile('openat', path)
    if (before.mode !== now.mode) this.#onFile('fchmodat', path)
    if (before.uid !== now.uid || before.gid !== now.gid) this.#onFile('fchownat', path)
    const written = before.mtimeMs !== now.mtimeMs || before.size !== now.size || before.ino !== now.ino
    if (written && !now.isDirectory()) this.#onFile('openat', path)
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
    for (const { watcher } of this.#folders.values()) watcher.close()
    this.#folders.clear()
  }
}

function statOf(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false })
  } catch {
    return undefined
  }
}

/** Falco's fields of a file. */
export function fileFields(type: FileEventType, path: string): Record<string, Value> {
  return {
    'fd.name': path,
    'fd.nameraw': path,
    'fs.path.name': path,
    'fd.directory': dirname(path),
    'fd.filename': basename(path),
    'fd.type': 'file',
    'fd.typechar': 'f',
    'fd.num': 0,
    'evt.is_open_write': type === 'openat',
  }
}

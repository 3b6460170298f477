import { closeSync, type FSWatcher, fstatSync, openSync, statSync, watch, writeSync } from 'node:fs'

/**
 * Tells other processes that something was committed: a one-byte file beside the database that is written after the
 * commit and watched by everybody (inotify, kqueue). A ring says "look", never what; rings may merge.
 */
export class Doorbell implements Disposable {
  readonly #path: string
  readonly #onRing: () => void
  #file: number | undefined
  #watcher: FSWatcher | undefined

  constructor(path: string, onRing: () => void) {
    this.#path = path
    this.#onRing = onRing
    this.#open()
  }

  #open(): void {
    this.#file = openSync(this.#path, 'a')
    closeSync(this.#file)
    this.#file = openSync(this.#path, 'r+')
  }

  /** From now on rings are heard; once is enough. */
  listen(): void {
    if (this.#watcher !== undefined) return
    this.#watcher = watch(this.#path, { persistent: false }, (event) => {
      // Somebody removed or replaced the file: hang up a new bell, and look, for a ring may have been missed.
      if (event === 'rename') this.#renew()
      this.#onRing()
    })
    this.#watcher.on('error', () => this.#renew())
  }

  ring(): void {
    if (this.#file !== undefined) writeSync(this.#file, '.', 0)
  }

  /** Notices a bell that was removed while we held it open, which the system does not report. */
  check(): void {
    if (this.#file === undefined) return
    if (statSync(this.#path, { throwIfNoEntry: false })?.ino === fstatSync(this.#file).ino) return
    this.#renew()
    this.#onRing()
  }

  #renew(): void {
    const listened = this.#watcher !== undefined
    this[Symbol.dispose]()
    this.#open()
    if (listened) this.listen()
  }

  [Symbol.dispose](): void {
    this.#watcher?.close()
    this.#watcher = undefined
    if (this.#file !== undefined) closeSync(this.#file)
    this.#file = undefined
  }
}

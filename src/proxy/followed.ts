import { readFileSync } from 'node:fs'
import { messageOf } from '../errors.ts'

/** Milliseconds between two looks at the files. */
const INTERVAL = 1000

export interface FollowOptions<T> {
  /** What they make of the files as they are now. Throws for what cannot be used. */
  make(): T
  /** It has been made anew. */
  changed?(value: T): void
  /** The files have changed into what cannot be used; said once for each such change. */
  refused(why: string): void
}

/**
 * Something made of files, and made anew when one of them has another text: written in place, renamed, or swapped by a link above it, as
 * Kubernetes does. What cannot be used leaves it as it was: two files that belong together are rarely changed at the same moment.
 */
export class Followed<T> implements Disposable {
  #current: T
  #before: string
  readonly #files: readonly string[]
  readonly #timer: NodeJS.Timeout | undefined

  /** Throws when what is there now cannot be used. Without files nothing is followed. */
  constructor(files: readonly string[], options: FollowOptions<T>) {
    this.#files = files
    this.#before = this.#texts()
    this.#current = options.make()
    if (files.length > 0) this.#timer = setInterval(() => this.#look(options), INTERVAL).unref()
  }

  get current(): T {
    return this.#current
  }

  #look({ make, changed, refused }: FollowOptions<T>): void {
    const now = this.#texts()
    if (now === this.#before) return
    this.#before = now
    try {
      const made = make()
      changed?.(made)
      this.#current = made
    } catch (error) {
      refused(messageOf(error))
    }
  }

  #texts(): string {
    return this.#files
      .map((file) => {
        try {
          return readFileSync(file, 'utf8')
        } catch (error) {
          return messageOf(error)
        }
      })
      .join('\0')
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }
}

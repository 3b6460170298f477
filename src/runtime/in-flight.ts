import type { Around } from '../blocks/around.ts'
import type { Runner } from '../policy/runner.ts'

interface Generation {
  calls: number
  idle: (() => void) | undefined
}

/**
 * Counts the calls under way at each component, so that one that is replaced or removed is closed after its last call.
 * Calls that begin after `retire` belong to the next instance.
 */
export class InFlight {
  readonly #current = new Map<string, Generation>()
  readonly #failed: ((component: string, error: unknown) => void) | undefined

  /** @param failed Hears of each call that was rejected, after all of its tries. */
  constructor(failed?: (component: string, error: unknown) => void) {
    this.#failed = failed
  }

  /** The same, counted. */
  around(inner: Around): Around {
    return (component, operation, work, signal) => this.#counted(component, () => inner(component, operation, work, signal))
  }

  /** The same for the runners that pub/sub uses; without a policy the operation itself. */
  runner(component: string, inner: Runner | undefined): Runner {
    return (work, signal) => this.#counted(component, () => (inner ? inner(work, signal) : work(signal)))
  }

  /** Resolves when the calls that are under way now are over, or after `bound` milliseconds; false then. */
  retire(component: string, bound: number): Promise<boolean> {
    const generation = this.#current.get(component)
    this.#current.delete(component)
    if (!generation || generation.calls === 0) return Promise.resolve(true)
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), bound)
      generation.idle = () => {
        clearTimeout(timer)
        resolve(true)
      }
    })
  }

  async #counted<T>(component: string, work: () => Promise<T>): Promise<T> {
    let generation = this.#current.get(component)
    if (!generation) {
      generation = { calls: 0, idle: undefined }
      this.#current.set(component, generation)
    }
    generation.calls++
    try {
      return await work()
    } catch (error) {
      this.#failed?.(component, error)
      throw error
    } finally {
      if (--generation.calls === 0) generation.idle?.()
    }
  }
}

/** How long an aborted handler may still take before its message is handed back without it. */
const AFTER_ABORT = 1000

/** The handlers that a subscription has running, and the way they end: first time to finish, then an abort. */
export class Running {
  readonly #work = new Set<Promise<void>>()
  readonly #abort = new AbortController()

  /** Aborted when the grace of `drain` is over. */
  get signal(): AbortSignal {
    return this.#abort.signal
  }

  get size(): number {
    return this.#work.size
  }

  /** Runs `work`, which must not reject; resolves when it has ended and counts no more. */
  start(work: () => Promise<void>): Promise<void> {
    const running = work().finally(() => this.#work.delete(running))
    this.#work.add(running)
    return running
  }

  /** Resolves when nothing runs any more, or after `limit` milliseconds. */
  async idle(limit: number): Promise<void> {
    if (this.#work.size > 0) await within(Promise.all(this.#work), limit)
  }

  /** Waits `grace` milliseconds for what runs, then aborts it and waits a last second. */
  async drain(grace: number): Promise<void> {
    if (this.#work.size > 0) await within(Promise.all(this.#work), grace)
    this.#abort.abort(new Error('the subscription ends'))
    if (this.#work.size > 0) await within(Promise.all(this.#work), AFTER_ABORT)
  }
}

/** Resolves with `work` or after `milliseconds`, whichever is first. */
async function within(work: Promise<unknown>, milliseconds: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, milliseconds)
  await Promise.race([work, promise])
  clearTimeout(timer)
}

/**
 * Calls for the next message when one is settled. Where one follows the other it goes out at once, so that the app works on it
 * while this turn of the event loop still handles others' requests; of several in parallel, what ends in one turn is followed together.
 */
export function next(handlers: number, pump: () => void): void {
  if (handlers === 1) pump()
  else setImmediate(pump)
}

/** At most so many handlers for one subscription, whatever the size of its batches. */
const MOST_HANDLERS = 10_000

/**
 * Handlers that may run at once for a subscription, at the component's `concurrency`. Batches of `batch` messages take
 * twice as many, so that one gathers while another is at the app; a single handler, which keeps the order, stays alone.
 */
export function handlersFor(concurrency: number, batch = 0): number {
  return concurrency === 1 ? 1 : Math.max(concurrency, Math.min(batch * 2, MOST_HANDLERS))
}

/** Milliseconds before try number `attempt + 1`, where `attempt` counts from 1: doubles from `initial` up to `max`. */
export function backoff(attempt: number, initial: number, max: number): number {
  return Math.min(max, initial * 2 ** Math.min(attempt - 1, 30))
}

/** Calls a handler; an exception thrown before its promise exists counts as a rejection. */
export async function call<T extends unknown[]>(handler: (...args: T) => Promise<void>, ...args: T): Promise<void> {
  await handler(...args)
}

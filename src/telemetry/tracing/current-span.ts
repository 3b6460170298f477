import { AsyncLocalStorage } from 'node:async_hooks'
import type { Span } from './span.ts'

/** The span of the request that the code running now belongs to, for what happens far below it and has no span of its own. */
export class CurrentSpan {
  readonly #storage = new AsyncLocalStorage<Span>()

  /** Undefined: none, or one that is not sampled. */
  get span(): Span | undefined {
    return this.#storage.getStore()
  }

  /** Runs with this span as the current one, through all that waits inside. What is not sampled costs nothing. */
  within<T>(span: Span | undefined, run: () => T): T {
    return span?.sampled ? this.#storage.run(span, run) : run()
  }
}

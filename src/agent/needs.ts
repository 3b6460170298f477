import { messageOf } from '../errors.ts'
import { pause } from '../waiting.ts'
import type { RoleContext } from './role.ts'

/** What a role needs from elsewhere: the role is `retrying` while any of it is away. The log gets one line when it goes, one when it is back. */
export class Needs {
  readonly #context: Pick<RoleContext, 'log' | 'report'>
  readonly #away = new Map<string, string>()

  constructor(context: Pick<RoleContext, 'log' | 'report'>) {
    this.#context = context
  }

  get away(): ReadonlyMap<string, string> {
    return this.#away
  }

  failed(what: string, error: unknown): void {
    const message = messageOf(error)
    if (!this.#away.has(what)) this.#context.log.warn(`${what}: ${message}; it is tried again`)
    this.#away.set(what, message)
    this.#context.report('retrying', new Error(`${what}: ${message}`))
  }

  works(what: string): void {
    if (!this.#away.delete(what)) return
    this.#context.log.info(`${what} is back`)
    const [next] = this.#away
    if (next) this.#context.report('retrying', new Error(`${next[0]}: ${next[1]}`))
    else this.#context.report('up')
  }
}

/** Runs `work` every so often (milliseconds), one after the other, at once for the first time, until the signal. */
export async function every(interval: number, signal: AbortSignal, work: () => Promise<void>): Promise<void> {
  while (!signal.aborted) {
    const began = performance.now()
    await work()
    await pause(Math.max(0, interval - (performance.now() - began)), signal)
  }
}

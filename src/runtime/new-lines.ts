import type { Logger } from '../telemetry/log.ts'

/** Lines that are remembered from one reading to the next. */
const MOST = 10_000

/** A logger for work that is done again and again: warnings and errors that the last round had too are not written again. */
export class NewLines {
  #before = new Set<string>()
  #now = new Set<string>()

  /** Begins a round. */
  logger(inner: Logger): Logger {
    this.#before = this.#now
    this.#now = new Set()
    const wrap = (log: Logger): Logger => {
      const fresh = (write: (line: string) => void) => (line: string) => {
        if (this.#now.size < MOST) this.#now.add(line)
        if (!this.#before.has(line)) write(line)
      }
      return {
        ...log,
        debug: fresh(log.debug),
        info: (line, fields) => log.info(line, fields),
        warn: fresh(log.warn),
        error: fresh(log.error),
        scope: (name) => wrap(log.scope(name)),
      }
    }
    return wrap(inner)
  }
}

import type { LogEvent } from '../event.ts'

/** Events that an output will not take, ever, and why. */
export interface Refusal {
  event: LogEvent
  reason: string
}

/** One output. */
export interface Sink extends AsyncDisposable {
  /**
   * Hands events over; resolves when the other side has them, with those that it refused for good.
   * Rejects with RefusedError when it refuses them as a whole, with PartlyTaken when some are to be sent again, with any other
   * error when all are.
   */
  send(events: readonly LogEvent[], signal: AbortSignal): Promise<readonly Refusal[]>
  /** Events that the other side had already, found by their id. */
  readonly duplicates?: number
}

export const NONE: readonly Refusal[] = []

/** The other side will never take these events as they are; `divide`: smaller parts of them may be taken. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError'
  readonly divide: boolean

  constructor(message: string, divide = true) {
    super(message)
    this.divide = divide
  }
}

/** The other side has taken some of the events, and refused some for good; those that are left are to be sent again. */
export class PartlyTaken extends Error {
  override readonly name = 'PartlyTaken'
  readonly left: readonly LogEvent[]
  readonly refusals: readonly Refusal[]

  constructor(message: string, left: readonly LogEvent[], refusals: readonly Refusal[]) {
    super(message)
    this.left = left
    this.refusals = refusals
  }
}

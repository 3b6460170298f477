import type { Logger } from '../../telemetry/log.ts'
import type { Positions } from './buffer/chunk.ts'
import type { LogEvent } from './event.ts'

/** Where a source puts its events. */
export interface Intake {
  /** Filters events and keeps what stays of them: resolves when that is on disk, together with the source's positions. Does not look at the bound. */
  take(events: readonly LogEvent[], positions?: Positions): Promise<void>
  /** The buffer is at its bound: wait for `room`, or refuse. */
  readonly full: boolean
  /** Resolves when there is room, or the signal aborts. */
  room(signal: AbortSignal): Promise<void>
  /** Events that nobody could be told to send again, e.g. UDP at the bound. */
  dropped(count: number): void
  /** Lines that were not of their format and are kept as text. */
  unparsed(count: number): void
  /** Where this source was, by its own keys. */
  positions(): ReadonlyMap<string, unknown>
  log: Logger
}

/** One source. Disposing ends intake and waits for what it has taken to be on disk. */
export interface Source extends AsyncDisposable {
  /** A few figures for `GET /status`. */
  status?(): Readonly<Record<string, unknown>>
}

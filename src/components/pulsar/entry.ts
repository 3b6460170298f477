import type { EntryId } from './hot.ts'

/** Of one message of an entry. */
export const State = {
  /** Not here: the broker gives it (again). */
  away: 0,
  queued: 1,
  running: 2,
  handled: 3,
  failed: 4,
} as const

/**
 * What became of the messages of one entry, which the broker gives and forgets as a whole: one message, or a batch.
 * It outlives redelivery, so that what was handled once is not handled again because of its neighbours.
 */
export class Entry {
  readonly id: EntryId
  readonly states: Uint8Array

  constructor(id: EntryId, messages: number) {
    this.id = id
    this.states = new Uint8Array(messages)
  }

  /** All are handled: it may be acknowledged. */
  get handled(): boolean {
    return this.states.every((state) => state === State.handled)
  }

  /** Nothing of it waits or runs here. */
  get settled(): boolean {
    return this.states.every((state) => state !== State.queued && state !== State.running)
  }

  /** Worth remembering while the broker has it. */
  get partly(): boolean {
    return this.states.includes(State.handled)
  }
}

/** Name of an entry among those of its partition. */
export function nameOf({ ledger, entry }: EntryId): string {
  return `${ledger}:${entry}`
}

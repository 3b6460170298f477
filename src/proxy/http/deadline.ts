/** Who is told that its time is over. */
export interface Timed {
  late(): void
}

/** Deadlines of one length, in the order in which they end, and the one timer for all of them. */
interface Lane {
  first: Deadline | undefined
  last: Deadline | undefined
  timer: NodeJS.Timeout
}

/** By their length in milliseconds, of which a configuration names a few. */
const lanes = new Map<number, Lane>()

/**
 * A time limit that nearly never comes: setting and clearing it is a change of two lists. Node's own timers are made, put in order and
 * scheduled anew for every request that is alone.
 */
export class Deadline {
  readonly at: number
  readonly #lane: Lane
  #owner: Timed | undefined
  #before: Deadline | undefined
  #after: Deadline | undefined

  /** `late` of the owner is called in `ms` milliseconds, unless it is cleared before. */
  constructor(ms: number, owner: Timed) {
    this.at = performance.now() + ms
    this.#owner = owner
    const lane = lanes.get(ms) ?? openLane(ms)
    this.#lane = lane
    this.#before = lane.last
    if (lane.last) lane.last.#after = this
    else lane.first = this
    lane.last = this
  }

  clear(): void {
    if (!this.#owner) return
    this.#owner = undefined
    const lane = this.#lane
    if (this.#before) this.#before.#after = this.#after
    else lane.first = this.#after
    if (this.#after) this.#after.#before = this.#before
    else lane.last = this.#before
    this.#before = this.#after = undefined
  }

  come(): void {
    const owner = this.#owner
    this.clear()
    owner?.late()
  }
}

/** The timer runs on where a lane is empty: the next request is about to come. */
function openLane(ms: number): Lane {
  const lane: Lane = { first: undefined, last: undefined, timer: setTimeout(() => sweep(lane, ms), ms).unref() }
  lanes.set(ms, lane)
  return lane
}

function sweep(lane: Lane, ms: number): void {
  const now = performance.now()
  while (lane.first && lane.first.at <= now) lane.first.come()
  const { first } = lane
  if (first) lane.timer = setTimeout(() => sweep(lane, ms), Math.max(1, first.at - now)).unref()
  else lanes.delete(ms)
}

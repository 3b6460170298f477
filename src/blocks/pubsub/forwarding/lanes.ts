import { isLost } from '../../../components/unreachable.ts'
import { messageOf } from '../../../errors.ts'
import type { Logger } from '../../../telemetry/log.ts'
import { bounded } from './bounded.ts'
import type { ForwardStore, Lane, StoredEvent } from './store.ts'

export interface LaneRunnerOptions {
  pubsubName: string
  /** Milliseconds that the broker has for one event, asked each time. */
  timeout(): number
  store: ForwardStore
  log: Logger
  /** Hands an event to the broker. */
  send(event: StoredEvent, signal: AbortSignal): Promise<void>
  /** No further event is begun. */
  over(): boolean
  /** Those under way are not waited for any more. */
  givenUp: AbortSignal
  /** The broker has answered, whatever it was. */
  answered(): void
  sent(): void
}

/** Lanes that are forwarded at once; events of one lane in a row; how long one look at all of them may take. */
const WIDTH = 16
const RUN = 100
const PASS = 5000
/** Lanes whose first event the broker refuses; with so many nothing is forwarded until one is due again. */
const MAX_BLOCKED = 10_000
/** Milliseconds until a refused event is tried again: the first time, and the most after doubling. */
const FIRST_WAIT = 500
const MOST_WAIT = 60_000
const START: Lane = { topic: '', key: '' }

/** Forwards events, each lane one by one in its order, many lanes beside each other. */
export class LaneRunner {
  readonly #options: LaneRunnerOptions
  readonly #blocked = new Map<string, { until: number; wait: number }>()
  #cursor: Lane = START

  constructor(options: LaneRunnerOptions) {
    this.#options = options
  }

  /**
   * One look at every lane, from where the last one ended; probing, one event only, to see. `lost`: why the broker cannot be
   * reached, `whole`: all that may be forwarded now has been tried.
   */
  async pass(probing: boolean): Promise<{ lost: unknown; sent: number; whole: boolean }> {
    const { store, pubsubName } = this.#options
    const end = Date.now() + PASS
    const fromStart = this.#cursor === START
    let lost: unknown
    let failure: unknown
    let sent = 0
    let through = false
    if (this.#blocked.size >= MAX_BLOCKED)
      for (const [lane, { until }] of this.#blocked) if (until <= Date.now()) this.#blocked.delete(lane)
    const over = () =>
      lost !== undefined || failure !== undefined || this.#options.over() || Date.now() > end || this.#blocked.size >= MAX_BLOCKED
    const next = (): Lane | undefined => {
      while (!over() && !through) {
        const lane = store.nextLane(pubsubName, this.#cursor)
        this.#cursor = lane ?? START
        if (!lane) {
          through = true
          return undefined
        }
        if ((this.#blocked.get(nameOf(lane))?.until ?? 0) <= Date.now()) return lane
      }
      return undefined
    }
    const forward = async (lane: Lane, most: number) => {
      const removals: Promise<void>[] = []
      let seq = 0
      for (let count = 0; count < most && !over(); count++) {
        const event = store.head(pubsubName, lane, seq)
        if (!event) break
        seq = event.seq
        if (event.expiresAt <= Date.now()) continue
        try {
          await bounded((signal) => this.#options.send(event, signal), this.#options.timeout(), undefined, this.#options.givenUp)
        } catch (error) {
          if (this.#options.givenUp.aborted) break
          if (isLost(error, [pubsubName, lane.topic])) lost = error
          else this.#block(lane, error)
          break
        }
        sent++
        this.#options.answered()
        this.#options.sent()
        if (this.#blocked.size > 0) this.#blocked.delete(nameOf(lane))
        removals.push(
          store.remove(pubsubName, seq).catch((error: unknown) => {
            failure = error
          }),
        )
      }
      await Promise.all(removals)
    }
    if (probing) {
      // The next lane each time: one event that the broker never answers must not stand before all others.
      for (let lane = next(); lane; lane = sent === 0 ? next() : undefined) await forward(lane, 1)
    } else {
      const worker = async () => {
        for (let lane = next(); lane; lane = next()) await forward(lane, RUN)
      }
      const ended = await Promise.allSettled(Array.from({ length: WIDTH }, worker))
      failure ??= ended.find((result) => result.status === 'rejected')?.reason
    }
    // Taken by the broker and still in the store: it comes a second time.
    if (failure !== undefined) throw failure
    return { lost, sent, whole: (fromStart && through) || this.#blocked.size >= MAX_BLOCKED }
  }

  /** The broker is there and does not want this event: its lane waits, doubling up to the most. */
  #block(lane: Lane, error: unknown): void {
    const { pubsubName, log } = this.#options
    this.#options.answered()
    const wait = Math.min((this.#blocked.get(nameOf(lane))?.wait ?? FIRST_WAIT / 2) * 2, MOST_WAIT)
    this.#blocked.set(nameOf(lane), { until: Date.now() + wait, wait })
    log.error(
      `pubsub ${pubsubName} refuses an accepted event of topic ${lane.topic}${lane.key ? `, key ${lane.key}` : ''}, next attempt in ${wait / 1000}s: ${messageOf(error)}`,
    )
  }

  /** Milliseconds until a refused event is due again, `most` when there is none. */
  untilDue(most: number): number {
    let until = Date.now() + most
    for (const blocked of this.#blocked.values()) until = Math.min(until, blocked.until)
    return until - Date.now()
  }

  /** Nothing waits any more. */
  clear(): void {
    this.#blocked.clear()
  }
}

const nameOf = ({ topic, key }: Lane) => `${topic}\n${key}`

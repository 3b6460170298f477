import { isLost } from '../../../components/unreachable.ts'
import { messageOf } from '../../../errors.ts'
import type { Logger } from '../../../telemetry/log.ts'
import { bounded } from './bounded.ts'
import type { ForwardStore, Lane, OutgoingEvent, StoredEvent } from './store.ts'

/** Hears what becomes of events, for metrics. */
export interface ForwardObserver {
  accepted(pubsub: string): void
  forwarded(pubsub: string): void
  expired(pubsub: string, count: number): void
  refused(pubsub: string): void
}

export interface ForwarderOptions {
  pubsubName: string
  /** Name of the resource, for the log. */
  resource: string
  /** Milliseconds that the broker has for one event. */
  timeout: number
  store: ForwardStore
  log: Logger
  observer: ForwardObserver
  /** Why the component cannot be asked; undefined: it is up. */
  away(): string | undefined
  /** Hands an event to the broker. */
  send(event: StoredEvent, signal: AbortSignal): Promise<void>
  random?: (() => number) | undefined
}

/** Milliseconds: the first wait after a failure, doubled up to the most. */
const BACKOFF = { first: 250, most: 5000 }
/** Lanes that are forwarded at once; events of one lane in a row; how long one look at all of them may take. */
const WIDTH = 16
const RUN = 100
const PASS = 5000
/** Lanes whose first event the broker refuses; with so many nothing is forwarded until one is due again. */
const MAX_BLOCKED = 10_000
/** Looks for what a process that has ended left behind. */
const IDLE = 5000
/** In-flight events have so long at the end; what is given up then may come twice. */
const GRACE = 1000

/**
 * Forwards what waits of one pub/sub, for as long as there is something:
 * `idle → waiting (broker away: one event probes it, with backoff) ⇄ draining → idle`.
 * An event that the broker refuses holds up its own lane only, until it is taken or expires.
 */
export class Forwarder {
  readonly #options: ForwarderOptions
  /** Something may be in the store. */
  #waiting = false
  /** Why the broker is taken for away. */
  #unreachable: string | undefined
  readonly #blocked = new Map<string, { until: number; wait: number }>()
  readonly #abort = new AbortController()
  #stopping = false
  #wake: (() => void) | undefined
  #woken = false
  #loop: Promise<void> | undefined
  #failures = 0
  /** Events on their way into the store. */
  #coming = 0
  #cursor: Lane = START
  #sent = 0
  #expired = 0

  constructor(options: ForwarderOptions) {
    this.#options = options
  }

  /** Begins with what waits from before. */
  start(): void {
    const { store, pubsubName, resource, log } = this.#options
    const { events } = store.waiting(pubsubName)
    if (events > 0) {
      this.#waiting = true
      log.info(`pubsub ${pubsubName}: ${events} events that were accepted before wait to be forwarded (StoreAndForward ${resource})`)
    }
    this.#loop = this.#run()
  }

  /** Why a publish has to go into the store, behind what waits; undefined: the broker may be asked. */
  mustWait(lane: Lane): string | undefined {
    if (!this.#waiting) return undefined
    if (this.#unreachable !== undefined) return this.#unreachable
    return this.#options.store.holds(this.#options.pubsubName, lane) ? 'earlier events of its topic and key wait' : undefined
  }

  /** A publish found that the broker cannot be reached. */
  lost(reason: string): void {
    this.#unreachable = reason
  }

  /** A publish was taken, or the component has come up. */
  reached(): void {
    if (this.#unreachable === undefined) return
    this.#unreachable = undefined
    this.wake()
  }

  /** Puts an event into the store; false: it has no room there. */
  async keep(event: OutgoingEvent, expiresAt: number, limit: number, reason: string): Promise<boolean> {
    const { store, pubsubName, observer } = this.#options
    this.#coming++
    try {
      const fits = await store.append(pubsubName, event, expiresAt, limit)
      if (fits) {
        observer.accepted(pubsubName)
        this.#begin(reason)
      } else observer.refused(pubsubName)
      return fits
    } finally {
      this.#coming--
    }
  }

  #begin(reason: string): void {
    const { pubsubName, resource, log } = this.#options
    if (this.#waiting) return
    this.#waiting = true
    this.#sent = this.#expired = 0
    log.warn(
      `pubsub ${pubsubName} cannot be reached: publishes are kept and answered as accepted from now on (StoreAndForward ${resource}): ${reason}`,
    )
    this.wake()
  }

  /** Look now. */
  wake(): void {
    this.#woken = true
    this.#wake?.()
  }

  /** What waits stays for the next start. */
  async stop(): Promise<void> {
    this.#stopping = true
    this.wake()
    const timer = setTimeout(() => this.#abort.abort(new Error('the sidecar is stopping')), GRACE)
    await this.#loop
    clearTimeout(timer)
    await this.#options.store.release(this.#options.pubsubName).catch(() => {})
  }

  async #run(): Promise<void> {
    const { store, pubsubName, log } = this.#options
    while (!this.#stopping) {
      let pause = IDLE
      try {
        if (!this.#waiting && store.waiting(pubsubName).events > 0) this.#waiting = true
        if (this.#waiting) pause = await this.#round()
      } catch (error) {
        log.warn(`pubsub ${pubsubName}: forwarding is held up: ${messageOf(error)}`)
        pause = 1000
      }
      if (pause > 0) await this.#pause(pause)
    }
  }

  /** Does what can be done now; gives the milliseconds until there may be more. */
  async #round(): Promise<number> {
    const { store, pubsubName } = this.#options
    if (!(await store.lease(pubsubName))) {
      // Another sidecar of this app forwards; its end is seen by looking.
      if (store.waiting(pubsubName).events === 0 && this.#coming === 0) this.#over()
      return 1000
    }
    await this.#expire()
    if (store.waiting(pubsubName).events === 0) {
      if (this.#coming > 0) return 2
      this.#over()
      await store.release(pubsubName)
      return 0
    }
    const away = this.#options.away()
    if (away !== undefined) this.#unreachable = away
    else {
      const { lost, sent, whole } = await this.#pass()
      if (sent > 0) this.#failures = 0
      if (lost === undefined) return sent === 0 && whole ? this.#untilDue() : 0
      this.#unreachable = messageOf(lost)
    }
    const wait = Math.min(BACKOFF.first * 2 ** Math.min(this.#failures++, 10), BACKOFF.most)
    return this.#bounded(wait * (0.5 + (this.#options.random ?? Math.random)() / 2))
  }

  /** Nothing waits any more. */
  #over(): void {
    if (!this.#waiting) return
    this.#waiting = false
    this.#unreachable = undefined
    this.#failures = 0
    this.#blocked.clear()
    const { pubsubName, log } = this.#options
    const expired = this.#expired > 0 ? `, ${this.#expired} expired` : ''
    log.info(
      `pubsub ${pubsubName}: nothing waits any more, publishes go to the broker again; ${this.#sent} events were forwarded${expired}`,
    )
    this.#sent = this.#expired = 0
  }

  async #expire(): Promise<void> {
    const { store, pubsubName, resource, log, observer } = this.#options
    for (;;) {
      const topics = await store.expire(pubsubName, Date.now())
      if (topics.size === 0) return
      const count = [...topics.values()].reduce((sum, each) => sum + each, 0)
      this.#expired += count
      observer.expired(pubsubName, count)
      const names = [...topics].map(([topic, each]) => `${topic} (${each})`).join(', ')
      log.error(
        `pubsub ${pubsubName}: ${count} accepted events expired before the broker took them and are given up (maxAge of StoreAndForward ${resource}, or their own TTL); topics: ${names}`,
      )
    }
  }

  /** One look at every lane. While the broker is taken for away, one event only, to see. */
  async #pass(): Promise<{ lost: unknown; sent: number; whole: boolean }> {
    const { store, pubsubName } = this.#options
    const end = Date.now() + PASS
    const probing = this.#unreachable !== undefined
    const fromStart = this.#cursor === START
    let lost: unknown
    let failure: unknown
    let sent = 0
    let through = false
    if (this.#blocked.size >= MAX_BLOCKED)
      for (const [lane, { until }] of this.#blocked) if (until <= Date.now()) this.#blocked.delete(lane)
    const over = () =>
      lost !== undefined || failure !== undefined || this.#stopping || Date.now() > end || this.#blocked.size >= MAX_BLOCKED
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
          await bounded((signal) => this.#options.send(event, signal), this.#options.timeout, undefined, this.#abort.signal)
        } catch (error) {
          if (this.#abort.signal.aborted) break
          if (isLost(error)) lost = error
          else this.#block(lane, error)
          break
        }
        sent++
        this.#sent++
        this.#unreachable = undefined
        if (this.#blocked.size > 0) this.#blocked.delete(nameOf(lane))
        this.#options.observer.forwarded(pubsubName)
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
    this.#unreachable = undefined
    const wait = Math.min((this.#blocked.get(nameOf(lane))?.wait ?? BACKOFF.first) * 2, 12 * BACKOFF.most)
    this.#blocked.set(nameOf(lane), { until: Date.now() + wait, wait })
    log.error(
      `pubsub ${pubsubName} refuses an accepted event of topic ${lane.topic}${lane.key ? `, key ${lane.key}` : ''}, next attempt in ${wait / 1000}s: ${messageOf(error)}`,
    )
  }

  #untilDue(): number {
    let until = Date.now() + BACKOFF.most
    for (const blocked of this.#blocked.values()) until = Math.min(until, blocked.until)
    return this.#bounded(until - Date.now())
  }

  /** Not past the moment at which an event expires. */
  #bounded(wait: number): number {
    const expiry = this.#options.store.nextExpiry(this.#options.pubsubName)
    return Math.max(1, expiry === undefined ? wait : Math.min(wait, expiry - Date.now()))
  }

  #pause(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#wake?.(), milliseconds)
      this.#wake = () => {
        clearTimeout(timer)
        this.#wake = undefined
        this.#woken = false
        resolve()
      }
      if (this.#woken || this.#stopping) this.#wake()
    })
  }
}

const START: Lane = { topic: '', key: '' }
const nameOf = ({ topic, key }: Lane) => `${topic}\n${key}`

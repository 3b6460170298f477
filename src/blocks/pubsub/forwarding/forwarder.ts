import { messageOf } from '../../../errors.ts'
import type { Logger } from '../../../telemetry/log.ts'
import { LaneRunner } from './lanes.ts'
import type { ForwardStore, Lane, OutgoingEvent, StoredEvent } from './store.ts'

/** Hears what becomes of events, for metrics. */
export interface ForwardObserver {
  accepted(pubsub: string): void
  forwarded(pubsub: string): void
  expired(pubsub: string, count: number): void
  refused(pubsub: string): void
}

/** What a resource says about forwarding. */
export interface ForwarderSettings {
  /** Name of the resource, for the log. */
  resource: string
  /** Milliseconds that the broker has for one event. */
  timeout: number
}

export interface ForwarderOptions extends ForwarderSettings {
  pubsubName: string
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
/** Looks for what a process that has ended left behind. */
const IDLE = 5000
/** In-flight events have so long at the end; what is given up then may come twice. */
const GRACE = 1000

/**
 * Forwards what waits of one pub/sub, for as long as there is something:
 * `idle → waiting (broker away: one event probes it, with backoff) ⇄ draining → idle`.
 * An event that the broker refuses holds up its own lane only, until it is taken or expires. Retired, it ends when it is idle.
 */
export class Forwarder {
  readonly #options: ForwarderOptions
  #settings: ForwarderSettings
  #retired = false
  #ended = false
  /** Publishes under way that may still bring something. */
  #publishing = 0
  /** Something may be in the store. */
  #waiting = false
  /** Why the broker is taken for away. */
  #unreachable: string | undefined
  readonly #abort = new AbortController()
  readonly #lanes: LaneRunner
  #stopping = false
  #wake: (() => void) | undefined
  #woken = false
  #loop: Promise<void> | undefined
  #failures = 0
  /** Events on their way into the store. */
  #coming = 0
  #sent = 0
  #expired = 0

  constructor(options: ForwarderOptions) {
    this.#options = options
    const { pubsubName, store, log, send } = options
    this.#settings = options
    this.#lanes = new LaneRunner({
      ...{ pubsubName, store, log, send },
      timeout: () => this.#settings.timeout,
      over: () => this.#stopping,
      givenUp: this.#abort.signal,
      answered: () => {
        this.#unreachable = undefined
      },
      sent: () => {
        this.#sent++
        options.observer.forwarded(pubsubName)
      },
    })
  }

  /** Begins with what waits from before. */
  start(): void {
    const { store, pubsubName, log } = this.#options
    const { resource } = this.#settings
    const { events } = store.waiting(pubsubName)
    if (events > 0) {
      this.#waiting = true
      log.info(`pubsub ${pubsubName}: ${events} events that were accepted before wait to be forwarded (StoreAndForward ${resource})`)
    }
    this.#loop = this.#run()
  }

  /** Other settings from now on; also for one that was retired. False: too late, it has ended. */
  renew(settings: ForwarderSettings): boolean {
    if (this.#ended || this.#stopping) return false
    this.#settings = settings
    this.#retired = false
    return true
  }

  /** No publish is sent here any more. It forwards what waits, and ends; resolves then. */
  async retire(): Promise<void> {
    this.#retired = true
    this.wake()
    await this.#loop
  }

  /** A publish is under way: until it is over there may be something to keep. */
  async during<T>(publish: () => Promise<T>): Promise<T> {
    this.#publishing++
    try {
      return await publish()
    } finally {
      this.#publishing--
      if (this.#retired) this.wake()
    }
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
    const { pubsubName, log } = this.#options
    const { resource } = this.#settings
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
        if (!this.#waiting && this.#retired && this.#publishing === 0) break
        if (this.#waiting) pause = await this.#round()
      } catch (error) {
        log.warn(`pubsub ${pubsubName}: forwarding is held up: ${messageOf(error)}`)
        pause = 1000
      }
      if (pause > 0) await this.#pause(pause)
    }
    this.#ended = true
  }

  /** Does what can be done now; gives the milliseconds until there may be more. */
  async #round(): Promise<number> {
    const { store, pubsubName } = this.#options
    if (!(await store.lease(pubsubName))) {
      // Another sidecar of this app forwards. Its end is seen by looking, and the broker's state by the next publish.
      if (store.waiting(pubsubName).events === 0 && this.#coming === 0) this.#over()
      this.#unreachable = undefined
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
      const { lost, sent, whole } = await this.#lanes.pass(this.#unreachable !== undefined)
      if (sent > 0) this.#failures = 0
      if (lost === undefined) return sent === 0 && whole ? this.#bounded(this.#lanes.untilDue(BACKOFF.most)) : 0
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
    this.#lanes.clear()
    const { pubsubName, log } = this.#options
    const expired = this.#expired > 0 ? `, ${this.#expired} expired` : ''
    log.info(
      `pubsub ${pubsubName}: nothing waits any more, publishes go to the broker again; ${this.#sent} events were forwarded${expired}`,
    )
    this.#sent = this.#expired = 0
  }

  async #expire(): Promise<void> {
    const { store, pubsubName, log, observer } = this.#options
    const { resource } = this.#settings
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

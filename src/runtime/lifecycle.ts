import { messageOf } from '../errors.ts'
import type { Logger } from '../telemetry/log.ts'

/**
 * The life of a sidecar:
 *
 *     starting ──▶ ready ◀──▶ degraded        everything is up, or something is not (the reasons say what)
 *         │          │            │
 *         └──────────┴────────────┴──▶ draining ──▶ stopped
 *
 * starting: resources are read, components come up, the ports open, the app is awaited; health answers "not ready".
 * ready, degraded: calls and events are served. degraded says that a component, subscription or binding is not up, or that
 * a new version of a resource was refused; what works goes on working, and ready comes back by itself.
 * draining: health answers "not ready", no more events are taken, what runs finishes. stopped: nothing is left.
 */
export type SidecarState = 'starting' | 'ready' | 'degraded' | 'draining' | 'stopped'

/**
 * The life of a component, subscription, input binding or role:
 * `initialising → up`, `initialising → retrying → up` while its server is away, `→ failed` on a mistake that waiting does not
 * cure, `→ closed` when it is ended; each of them back to `initialising` when its resource changes.
 */
export type PartState = 'initialising' | 'up' | 'retrying' | 'failed' | 'closed'

export type PartKind = 'component' | 'subscription' | 'binding' | 'role'

export interface Part {
  kind: PartKind
  name: string
  /** Type of the component; `topic of pubsub` of a subscription. */
  detail: string
  state: PartState
  since: Date
  /** Why it is not up. */
  error?: string
  /** While retrying. */
  nextAttempt?: Date
}

export interface LifecycleOptions {
  appId: string
  log: Logger
}

/** What happened so far, for metrics. */
interface Counted {
  kind: 'sidecar' | PartKind
  to: string
  count: number
}

/** Parts that are remembered; more run without being shown. */
const MOST_PARTS = 2000

/** Keeps the states of one sidecar and its parts. Each transition is one structured log line. */
export class Lifecycle {
  readonly #options: LifecycleOptions
  readonly #log: Logger
  readonly #parts = new Map<string, Part>()
  /** Sentences by what they are about, for reasons that are no part's state. */
  readonly #reasons = new Map<string, string>()
  readonly #counts = new Map<string, Counted>()
  #state: SidecarState = 'starting'
  #since = new Date()

  constructor(options: LifecycleOptions) {
    this.#options = options
    this.#log = options.log.scope('outrider.lifecycle')
  }

  get appId(): string {
    return this.#options.appId
  }

  get state(): SidecarState {
    return this.#state
  }

  get since(): Date {
    return this.#since
  }

  /** The start is over: ready, or degraded when something is not up. */
  started(): void {
    if (this.#state === 'starting') this.#to(this.#healthy)
  }

  /** From here on only `stopped` follows. */
  draining(): void {
    if (this.#state !== 'stopped') this.#to('draining')
  }

  stopped(): void {
    this.#to('stopped')
  }

  /** Brings a part to a state; the first word about it makes it known. */
  part(kind: PartKind, name: string, detail: string, state: PartState, why?: { error?: unknown; nextAttempt?: Date | undefined }): void {
    const key = `${kind}/${name}`
    const before = this.#parts.get(key)
    if (!before && this.#parts.size >= MOST_PARTS) return
    const error = why?.error === undefined ? undefined : messageOf(why.error)
    const changed = before?.state !== state
    this.#parts.set(key, {
      kind,
      name,
      detail,
      state,
      since: changed ? new Date() : before.since,
      ...(error !== undefined && { error }),
      ...(why?.nextAttempt && { nextAttempt: why.nextAttempt }),
    })
    if (changed) {
      this.#count(kind, state)
      this.#log.info(`${kind} ${name} (${detail}): ${before ? `${before.state} → ` : ''}${state}${error ? `: ${error}` : ''}`, {
        event: 'lifecycle',
        kind,
        name,
        ...(before && { from: before.state }),
        to: state,
        ...(error !== undefined && { error }),
        ...(why?.nextAttempt && { next_attempt: why.nextAttempt.toISOString() }),
      })
    }
    this.#assess()
  }

  /** A part that is no more wanted. */
  forget(kind: PartKind, name: string): void {
    const part = this.#parts.get(`${kind}/${name}`)
    if (!part) return
    if (part.state !== 'closed') this.part(kind, name, part.detail, 'closed')
    this.#parts.delete(`${kind}/${name}`)
    this.#assess()
  }

  /** Something that keeps the sidecar degraded until it is called again without a sentence. */
  reason(about: string, sentence: string | undefined): void {
    if (sentence === undefined) this.#reasons.delete(about)
    else this.#reasons.set(about, sentence)
    this.#assess()
  }

  parts(): Part[] {
    return [...this.#parts.values()]
  }

  /** Why it is degraded; empty when all is well. */
  reasons(): string[] {
    const waiting = this.parts()
      .filter(({ state }) => state === 'retrying' || state === 'failed')
      .map(
        ({ kind, name, detail, state, error, nextAttempt }) =>
          `${kind} ${name} (${detail}) is ${state}${error ? `: ${error}` : ''}${nextAttempt ? `; next attempt ${nextAttempt.toISOString()}` : ''}`,
      )
    return [...waiting, ...this.#reasons.values()]
  }

  /** Sentences of `reason` by what they are about. */
  get remarks(): ReadonlyMap<string, string> {
    return this.#reasons
  }

  transitions(): readonly Readonly<Counted>[] {
    return [...this.#counts.values()]
  }

  get #healthy(): 'ready' | 'degraded' {
    if (this.#reasons.size > 0) return 'degraded'
    for (const { state } of this.#parts.values()) if (state === 'retrying' || state === 'failed') return 'degraded'
    return 'ready'
  }

  #assess(): void {
    if ((this.#state === 'ready' || this.#state === 'degraded') && this.#state !== this.#healthy) this.#to(this.#healthy)
  }

  #to(state: SidecarState): void {
    if (state === this.#state) return
    const from = this.#state
    this.#state = state
    this.#since = new Date()
    this.#count('sidecar', state)
    const reasons = state === 'degraded' ? this.reasons() : []
    this.#log.info(`sidecar: ${from} → ${state}${reasons.length > 0 ? `: ${reasons.join('; ')}` : ''}`, {
      event: 'lifecycle',
      kind: 'sidecar',
      name: this.#options.appId,
      from,
      to: state,
    })
  }

  #count(kind: Counted['kind'], to: string): void {
    const key = `${kind} ${to}`
    const counted = this.#counts.get(key)
    if (counted) counted.count++
    else this.#counts.set(key, { kind, to, count: 1 })
  }
}

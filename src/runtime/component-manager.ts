import { setTimeout as pause } from 'node:timers/promises'
import type { Component } from '../components/component.ts'
import { MetadataError } from '../components/metadata.ts'
import { noRoomIn } from '../components/no-room.ts'
import type { ComponentSet, Named } from '../components/sets.ts'
import { isUnreachable } from '../components/unreachable.ts'
import { messageOf } from '../errors.ts'
import type { RuntimeMetrics } from '../telemetry/runtime-metrics.ts'
import { blockOf, type ComponentSpec, capabilitiesOf, type InstanceOptions, openComponent } from './component-instance.ts'
import { BlockSet, type ComponentStatus, enterState, initFailure } from './component-status.ts'
import { type ComponentWatchOptions, watchComponents } from './component-watch.ts'
import type { Lifecycle, PartState } from './lifecycle.ts'

/** Milliseconds between attempts at a server that is away: what came back is used within 5 s. */
const LONGEST_WAIT = 4000
/** Milliseconds for which a call that found its server full says that it is. */
const FULL_FOR = 3000

export interface ComponentManagerOptions extends InstanceOptions {
  /** Keep trying a server that cannot be reached, instead of ending the process as daprd does. */
  retryUnreachable: boolean
  lifecycle?: Lifecycle
  metrics?: RuntimeMetrics | undefined
  /** A component came, was replaced or went after the start: whoever holds its subscriptions takes the one there is now. */
  onChange?: (kind: string, name: string) => Promise<void> | void
  /** The server of a component that runs was lost, and answers again. */
  onBack?: (name: string) => void
  /** Called when a component is replaced or removed; resolves when the calls that use it are over. */
  retire?: (name: string) => Promise<unknown>
}

/** One name: what its resource says, how that is going, and what runs under it. */
interface Slot {
  spec: ComponentSpec
  status: ComponentStatus
  running: Named<Component> | undefined
  /** The last call that found the server full, and when that was. */
  full?: { error: Error; at: number }
  /** Ends the attempts of this spec. */
  stop: AbortController
}

/**
 * Starts, replaces and ends components; their states are those of `PartState`. A replacement comes up beside the one that runs,
 * takes its place, and only then is the old one closed, after its last call; a replacement that fails changes nothing.
 */
export class ComponentManager {
  readonly #options: ComponentManagerOptions
  readonly #sets = new Map<string, BlockSet>()
  readonly #slots = new Map<string, Slot>()
  readonly #stop = new AbortController()
  /** Attempts at servers that are away, and components on their way out. */
  readonly #background = new Set<Promise<void>>()

  constructor(options: ComponentManagerOptions) {
    this.#options = options
  }

  /** Live map of one block's components (`state`, `pubsub`, …). */
  set<T>(block: string): ComponentSet<T> {
    return this.#set(block) as unknown as ComponentSet<T>
  }

  statuses(): ComponentStatus[] {
    return [...this.#slots.values()].map(({ status }) => status)
  }

  /** Components that wait for their server, with the last error. */
  retrying(): ComponentStatus[] {
    return this.statuses().filter((status) => status.state === 'retrying')
  }

  /** What a component was last made with, resolved. */
  spec(name: string): ComponentSpec | undefined {
    return this.#slots.get(name)?.spec
  }

  /** Brings one component up at start. Rejects with ComponentInitError when its failure must end the sidecar. */
  async add(spec: ComponentSpec): Promise<void> {
    try {
      await this.#begin(spec, false)
    } catch (error) {
      if (!spec.ignoreErrors) {
        this.#options.log.warn(`Error processing component, daprd will exit gracefully: ${messageOf(error)}`)
        throw error
      }
      this.#options.log.error(`Ignoring error processing component: ${messageOf(error)}`)
    }
  }

  /**
   * Brings a component up while the sidecar runs, in place of the one of its name. Rejects with ComponentInitError, and what ran
   * goes on. Resolves when it is up, or when its server is away and is tried in the background; what it replaces is closed later.
   */
  put(spec: ComponentSpec): Promise<void> {
    return this.#begin(spec, true)
  }

  /** Ends one component: nobody finds it from now on; calls under way finish, then it is closed. */
  remove(name: string): void {
    const slot = this.#slots.get(name)
    if (!slot) return
    slot.stop.abort()
    this.#slots.delete(name)
    this.#options.lifecycle?.reason(waitingKey(name), undefined)
    this.#options.lifecycle?.forget('component', name)
    const { running } = slot
    if (!running) return
    const block = blockOf(running.type)
    this.#set(block).delete(name)
    this.#retire(running, [block])
  }

  /** From now on the servers of the components that run are asked whether they are there: one that is lost shows as retrying. */
  watch(intervals: Pick<ComponentWatchOptions, 'interval' | 'lostInterval'> = {}): void {
    const running = watchComponents({
      ...intervals,
      running: () =>
        [...this.#slots.values()].flatMap(({ running, status, full }) =>
          running
            ? [{ name: running.name, component: running.component, lost: status.state === 'retrying', refused: refusalOf(full) }]
            : [],
        ),
      lost: (name, error, next) => {
        const slot = this.#slots.get(name)
        if (!slot?.running) return
        const { status } = slot
        if (status.state === 'up') {
          status.since = new Date()
          this.#options.log.warn(`Component ${name} (${status.type}) has lost its server: ${messageOf(error)}`)
        }
        this.#note(slot, 'retrying', error, next)
      },
      back: (name) => {
        const slot = this.#slots.get(name)
        if (!slot?.running) return
        this.#options.log.info(`Component ${name} (${slot.status.type}) has its server back`)
        this.#note(slot, 'up')
        this.#options.onBack?.(name)
      },
      signal: this.#stop.signal,
    }).finally(() => this.#background.delete(running))
    this.#background.add(running)
  }

  /**
   * A call to a component was rejected. A server that says it is full answers every question of the watch, so the calls tell:
   * it shows as retrying until a few seconds have passed without such a call.
   */
  callFailed(name: string, thrown: unknown): void {
    const error = noRoomIn(thrown)
    if (!error) return
    const slot = this.#slots.get(name)
    if (!slot?.running?.component.ping) return
    slot.full = { error, at: performance.now() }
    if (slot.status.state !== 'up') return
    slot.status.since = new Date()
    this.#options.log.warn(`Component ${name} (${slot.status.type}) finds its server full: ${messageOf(error)}`)
    this.#note(slot, 'retrying', error)
  }

  /** Ends retries and closes every component; one that fails to close is logged, never in the way of the others. */
  async close(): Promise<void> {
    this.#stop.abort()
    for (const { stop } of this.#slots.values()) stop.abort()
    await Promise.allSettled(this.#background)
    await Promise.all([...this.#sets.values()].flatMap((set) => [...set.values()]).map((named) => this.#dispose(named)))
    for (const slot of this.#slots.values()) this.#note(slot, 'closed')
    for (const set of this.#sets.values()) set.clear()
  }

  #set(block: string): BlockSet {
    let found = this.#sets.get(block)
    if (!found) {
      found = new BlockSet((name) => this.#waiting(block, name))
      this.#sets.set(block, found)
    }
    return found
  }

  #waiting(block: string, name: string): string | undefined {
    const status = this.#slots.get(name)?.status
    if (status?.state !== 'retrying' || blockOf(status.type) !== block) return undefined
    return `component ${name} (${status.type}) cannot reach its server, retrying since ${status.since?.toISOString()}, last error: ${status.error}`
  }

  async #begin(spec: ComponentSpec, live: boolean): Promise<void> {
    const { log } = this.#options
    const before = this.#slots.get(spec.name)
    before?.stop.abort()
    const { name, type } = spec
    const version = spec.version || 'v1'
    const title = `${name} (${type}/${version})`
    const fresh: ComponentStatus = { name, type, version, state: 'initialising', loaded: false, capabilities: [] }
    const slot: Slot = {
      spec,
      // While another version serves, it is up whatever becomes of this one.
      status: before?.running ? before.status : fresh,
      running: before?.running,
      stop: new AbortController(),
    }
    this.#slots.set(name, slot)
    if (!slot.running) this.#note(slot, 'initialising')
    try {
      await this.#open(slot, live)
      log.info(`Component ${before ? 'updated' : 'loaded'}: ${title}`)
      this.#options.metrics?.componentLoaded()
    } catch (error) {
      if (this.#options.retryUnreachable && isUnreachable(error) && !slot.stop.signal.aborted) {
        this.#retryLater(slot, error)
        return
      }
      this.#options.metrics?.componentFailed(spec.type, name, 'init')
      const { told, thrown } = initFailure(name, title, error)
      log.error(`Failed to init component ${title}: ${told}`)
      if (slot.running && before) slot.spec = before.spec
      else this.#note(slot, 'failed', error)
      throw thrown
    }
  }

  /** Makes an instance and puts it in the place of what runs. */
  async #open(slot: Slot, live: boolean): Promise<void> {
    const { spec } = slot
    const named = await openComponent(spec, this.#options, AbortSignal.any([this.#stop.signal, slot.stop.signal]))
    const before = slot.running
    const block = blockOf(spec.type)
    const left = before && blockOf(before.type) !== block ? blockOf(before.type) : undefined
    if (left) this.#set(left).delete(spec.name)
    this.#set(block).set(spec.name, named)
    slot.running = named
    this.#options.metrics?.componentInitialised(spec.type)
    slot.status = { name: spec.name, type: spec.type, version: named.version, state: 'initialising', loaded: true, capabilities: [] }
    slot.status.capabilities = capabilitiesOf(named.component)
    this.#options.lifecycle?.reason(waitingKey(spec.name), undefined)
    const up = () => {
      if (slot.running === named && slot.status.state === 'initialising') this.#note(slot, 'up')
    }
    if (!live) {
      up()
      if (before) await this.#dispose(before)
    } else this.#retire(before, left ? [left, block] : [block], spec.name, up)
  }

  /** Tells who holds on to the component, lets its calls finish, closes it. Nobody waits for that; `followed`: subscriptions are on the new one. */
  #retire(before: Named<Component> | undefined, blocks: readonly string[], name = before?.name, followed = () => {}): void {
    const idle = before && this.#options.retire?.(before.name)
    const retire = async () => {
      for (const block of blocks) await this.#options.onChange?.(block, name as string)
      followed()
      await idle
      if (before) await this.#dispose(before)
    }
    const running = retire()
      .catch((error: unknown) => {
        followed()
        this.#options.log.error(`component ${name} changed, but what uses it did not follow: ${messageOf(error)}`)
      })
      .finally(() => this.#background.delete(running))
    this.#background.add(running)
  }

  async #dispose({ name, component }: Named<Component>): Promise<void> {
    try {
      await component[Symbol.asyncDispose]()
    } catch (error) {
      this.#options.log.warn(`error closing component ${name}: ${messageOf(error)}`)
    }
  }

  #note(slot: Slot, state: PartState, error?: unknown, nextAttempt?: Date): void {
    const { status } = slot
    enterState(status, state, error, nextAttempt)
    this.#options.lifecycle?.part('component', status.name, status.type, state, { error, nextAttempt })
  }

  #retryLater(slot: Slot, first: unknown): void {
    const { log, lifecycle } = this.#options
    const { spec } = slot
    const title = `${spec.name} (${spec.type})`
    const signal = AbortSignal.any([this.#stop.signal, slot.stop.signal])
    const replaces = slot.running !== undefined
    if (!replaces) slot.status.since = new Date()
    const retry = async () => {
      let error = first
      for (let wait = 250; !signal.aborted; wait = Math.min(wait * 2, LONGEST_WAIT)) {
        const next = new Date(Date.now() + wait)
        const reason = messageOf(error)
        if (replaces)
          lifecycle?.reason(
            waitingKey(spec.name),
            `component ${title}: its new version cannot reach its server, the old one goes on: ${reason}; next attempt ${next.toISOString()}`,
          )
        else this.#note(slot, 'retrying', error, next)
        log.warn(`Component ${title} cannot reach its server: ${reason}; next attempt in ${wait / 1000}s`)
        await pause(wait, undefined, { signal }).catch(() => {})
        if (signal.aborted) return
        try {
          await this.#open(slot, true)
          log.info(`Component loaded: ${spec.name} (${spec.type}/${spec.version || 'v1'})`)
          this.#options.metrics?.componentLoaded()
          return
        } catch (thrown) {
          if (signal.aborted) return
          error = thrown
          // A mistake in the resource is not cured by waiting.
          if (thrown instanceof MetadataError) {
            const told = `Component ${title} is reachable, but its settings are wrong: ${messageOf(thrown)}; correct the resource`
            if (replaces) lifecycle?.reason(waitingKey(spec.name), told)
            else this.#note(slot, 'failed', thrown)
            log.error(told)
            return
          }
        }
      }
    }
    const running = retry().finally(() => this.#background.delete(running))
    this.#background.add(running)
  }
}

function refusalOf(full: Slot['full']): Error | undefined {
  return full && performance.now() - full.at < FULL_FOR ? full.error : undefined
}

const waitingKey = (name: string) => `component/${name}/new version`

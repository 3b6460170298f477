import { setTimeout as pause } from 'node:timers/promises'
import type { Component, ComponentContext } from '../components/component.ts'
import { MetadataError } from '../components/metadata.ts'
import type { ComponentSet, Named } from '../components/sets.ts'
import { isUnreachable } from '../components/unreachable.ts'
import { messageOf } from '../errors.ts'
import type { Logger } from '../telemetry/log.ts'
import type { RuntimeMetrics } from '../telemetry/runtime-metrics.ts'
import { findDriver } from './drivers.ts'

/** What the manager needs to know of a Component resource. */
export interface ComponentSpec {
  name: string
  type: string
  version: string
  ignoreErrors: boolean
  initTimeoutMs: number
  /** Resolved spec.metadata. */
  properties: Readonly<Record<string, string>>
}

export type ComponentState = 'initialising' | 'up' | 'retrying' | 'failed' | 'closed'

export interface ComponentStatus {
  name: string
  type: string
  version: string
  state: ComponentState
  capabilities: readonly string[]
  /** Why it is not up. */
  error?: string
  /** When it was first seen away. */
  since?: Date
}

/** A component whose failure ends the sidecar. */
export class ComponentInitError extends Error {
  override readonly name = 'ComponentInitError'
}

export interface ComponentManagerOptions {
  appId: string
  namespace: string
  log: Logger
  /** Keep trying a server that cannot be reached, instead of ending the process as daprd does. */
  retryUnreachable: boolean
  /** Folder of the sockets of pluggable components; undefined: there are none. */
  sockets?: string
  /** Checks what a block itself reads of a component that came up; what it throws is the component's failure. */
  check?: (block: string, component: Named<Component>) => void
  metrics?: RuntimeMetrics | undefined
  /** A component came up after the start, or one went. */
  onChange?: (kind: string, name: string) => void
}

/**
 * Starts and ends components, one small state machine each:
 * `initialising → up`, `initialising → retrying → up` while a server is away, `→ failed` on a mistake, `→ closed`.
 */
export class ComponentManager {
  readonly #options: ComponentManagerOptions
  readonly #sets = new Map<string, BlockSet>()
  readonly #status = new Map<string, ComponentStatus>()
  readonly #specs = new Map<string, ComponentSpec>()
  readonly #stop = new AbortController()
  readonly #retries = new Set<Promise<void>>()

  constructor(options: ComponentManagerOptions) {
    this.#options = options
  }

  /** Live map of one block's components (`state`, `pubsub`, …). */
  set<T>(block: string): ComponentSet<T> {
    let found = this.#sets.get(block)
    if (!found) {
      found = new BlockSet((name) => this.#waiting(block, name))
      this.#sets.set(block, found)
    }
    return found as unknown as ComponentSet<T>
  }

  statuses(): ComponentStatus[] {
    return [...this.#status.values()]
  }

  /** Components that wait for their server, with the last error. */
  retrying(): ComponentStatus[] {
    return this.statuses().filter((status) => status.state === 'retrying')
  }

  /** What a component was last made with, resolved. */
  spec(name: string): ComponentSpec | undefined {
    return this.#specs.get(name)
  }

  #waiting(block: string, name: string): string | undefined {
    const status = this.#status.get(name)
    if (status?.state !== 'retrying' || blockOf(status.type) !== block) return undefined
    return `component ${name} (${status.type}) cannot reach its server, retrying since ${status.since?.toISOString()}, last error: ${status.error}`
  }

  /** Brings one component up. Rejects with ComponentInitError when its failure must end the sidecar. */
  async add(spec: ComponentSpec): Promise<void> {
    const { log } = this.#options
    const title = `${spec.name} (${spec.type}/${spec.version || 'v1'})`
    const status: ComponentStatus = {
      name: spec.name,
      type: spec.type,
      version: spec.version || 'v1',
      state: 'initialising',
      capabilities: [],
    }
    this.#status.set(spec.name, status)
    this.#specs.set(spec.name, spec)
    try {
      await this.#start(spec, status)
      log.info(`Component loaded: ${title}`)
      this.#options.metrics?.componentLoaded()
    } catch (error) {
      if (this.#options.retryUnreachable && isUnreachable(error)) {
        this.#retryLater(spec, status, error)
        return
      }
      status.state = 'failed'
      status.error = messageOf(error)
      this.#options.metrics?.componentFailed(spec.type, spec.name, 'init')
      const reason = status.error.startsWith('incorrect type')
        ? status.error
        : `[INIT_COMPONENT_FAILURE]: initialization error occurred for ${title}: ${status.error}`
      log.error(`Failed to init component ${title}: ${reason}`)
      const wrapped = `process component ${spec.name} error: ${reason.startsWith('[') ? `[INIT_COMPONENT_FAILURE]: initialization error occurred for ${title}: ${reason}` : reason}`
      if (spec.ignoreErrors) {
        log.error(`Ignoring error processing component: ${wrapped}`)
        return
      }
      log.warn(`Error processing component, daprd will exit gracefully: ${wrapped}`)
      throw new ComponentInitError(wrapped)
    }
  }

  /** Ends retries and closes every component; one that fails to close is logged, never in the way of the others. */
  async close(): Promise<void> {
    this.#stop.abort()
    await Promise.allSettled(this.#retries)
    const all = [...this.#sets.values()].flatMap((set) => [...set.values()])
    await Promise.all(
      all.map(async ({ name, component }) => {
        try {
          await component[Symbol.asyncDispose]()
        } catch (error) {
          this.#options.log.warn(`error closing component ${name}: ${messageOf(error)}`)
        }
      }),
    )
    for (const status of this.#status.values()) status.state = 'closed'
    for (const set of this.#sets.values()) set.clear()
  }

  async #start(spec: ComponentSpec, status: ComponentStatus): Promise<void> {
    const { sockets, log } = this.#options
    const driver = await findDriver(spec.type, spec.version, sockets === undefined ? undefined : { sockets, log })
    const context: ComponentContext = {
      name: spec.name,
      type: spec.type,
      version: spec.version || 'v1',
      properties: spec.properties,
      appId: this.#options.appId,
      namespace: this.#options.namespace,
      log: this.#options.log.scope(`dapr.contrib.${spec.name}`),
    }
    const component = driver.create(context)
    const late = AbortSignal.timeout(spec.initTimeoutMs)
    const signal = AbortSignal.any([this.#stop.signal, late])
    try {
      await Promise.race([component.init(signal), rejection(late, () => new Error(`init timed out after ${spec.initTimeoutMs / 1000}s`))])
    } catch (error) {
      await Promise.resolve(component[Symbol.asyncDispose]()).catch(() => {})
      throw error
    }
    if (this.#stop.signal.aborted) {
      await component[Symbol.asyncDispose]()
      throw new Error('the sidecar is stopping')
    }
    const properties = Object.fromEntries(Object.entries(spec.properties).map(([name, value]) => [name.toLowerCase(), value]))
    const block = blockOf(spec.type)
    const named = { name: spec.name, type: spec.type, version: context.version, component, properties }
    try {
      this.#options.check?.(block, named)
    } catch (error) {
      await component[Symbol.asyncDispose]()
      throw error
    }
    ;(this.set<Component>(block) as BlockSet).set(spec.name, named)
    this.#options.metrics?.componentInitialised(spec.type)
    status.state = 'up'
    delete status.error
    delete status.since
    status.capabilities = capabilitiesOf(component)
  }

  #retryLater(spec: ComponentSpec, status: ComponentStatus, first: unknown): void {
    const { log } = this.#options
    status.since = new Date()
    const retry = async () => {
      let error = first
      for (let wait = 250; !this.#stop.signal.aborted; wait = Math.min(wait * 2, 10_000)) {
        status.state = 'retrying'
        status.error = messageOf(error)
        log.warn(`Component ${spec.name} (${spec.type}) cannot reach its server: ${status.error}; next attempt in ${wait / 1000}s`)
        await pause(wait, undefined, { signal: this.#stop.signal }).catch(() => {})
        if (this.#stop.signal.aborted) return
        try {
          await this.#start(spec, status)
          log.info(`Component loaded: ${spec.name} (${spec.type}/${spec.version || 'v1'})`)
          this.#options.metrics?.componentLoaded()
          this.#options.onChange?.(blockOf(spec.type), spec.name)
          return
        } catch (thrown) {
          error = thrown
          // A mistake in the resource is not cured by waiting.
          if (thrown instanceof MetadataError) {
            status.state = 'failed'
            status.error = messageOf(thrown)
            log.error(
              `Component ${spec.name} (${spec.type}) is reachable, but its settings are wrong: ${status.error}; correct the resource`,
            )
            return
          }
        }
      }
    }
    const running = retry().finally(() => this.#retries.delete(running))
    this.#retries.add(running)
  }
}

/** The components of one block that are up, and why others are not. */
class BlockSet extends Map<string, Named<Component>> implements ComponentSet<Component> {
  readonly waiting: (name: string) => string | undefined
  constructor(waiting: (name: string) => string | undefined) {
    super()
    this.waiting = waiting
  }
}

function blockOf(type: string): string {
  return type.split('.', 1)[0] as string
}

function capabilitiesOf(component: Component): string[] {
  const shape = component as { features?: readonly string[]; operations?: readonly string[]; invoke?: unknown; read?: unknown }
  const found = [...(shape.features ?? [])]
  if (found.includes('ETAG') && found.includes('TRANSACTIONAL')) found.push('ACTOR')
  if (typeof shape.read === 'function') found.push('INPUT_BINDING')
  if (typeof shape.invoke === 'function') found.push('OUTPUT_BINDING')
  return found
}

function rejection(signal: AbortSignal, error: () => Error): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(error()), { once: true }))
}

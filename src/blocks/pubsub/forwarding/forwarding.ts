import type { ComponentSet } from '../../../components/sets.ts'
import { messageOf } from '../../../errors.ts'
import type { StoreAndForwardResource } from '../../../resources/kinds.ts'
import type { ComponentMetrics } from '../../../telemetry/component-metrics.ts'
import type { Logger } from '../../../telemetry/log.ts'
import type { PubSub } from '../driver.ts'
import type { PubSubPolicies } from '../policy-hook.ts'
import { codedRunner } from '../publish-code.ts'
import type { PublishLine } from '../publish-line.ts'
import { Forwarder, type ForwardObserver } from './forwarder.ts'
import { aged, createLine } from './line.ts'
import { ForwardStore, type StoredEvent, type Waiting } from './store.ts'

export interface ForwardingOptions {
  resources: readonly StoreAndForwardResource[]
  components: ComponentSet<PubSub>
  /** Settings of a component that has a resource, whether it is up or not. */
  properties(name: string): Readonly<Record<string, string>> | undefined
  appId: string
  namespace: string
  /** SQLite file, shared with the other sidecars of the machine. */
  file: string
  policies?: PubSubPolicies | undefined
  namespaceScoped?: ((pubsubName: string) => boolean) | undefined
  metrics?: ComponentMetrics | undefined
  observer: ForwardObserver
  log: Logger
}

/** Store-and-forward of one app: what publishing passes, and the forwarders behind it. */
export interface Forwarding extends AsyncDisposable {
  /** By pub/sub; those that no resource names have none. */
  readonly lines: ReadonlyMap<string, PublishLine>
  /** What waits, by pub/sub. */
  waiting(): [pubsub: string, waiting: Waiting][]
  /**
   * Takes these resources in place of those before. A pub/sub that none names any more publishes to its broker from now on; what
   * was accepted for it is still forwarded.
   */
  replace(resources: readonly StoreAndForwardResource[]): void
  /** Begins to forward; call it when the components have been loaded. */
  start(): void
  /** The component has come up. */
  came(pubsub: string): void
}

/** Opens the store. Throws an Error that names its file. */
export function createForwarding(options: ForwardingOptions): Forwarding {
  const { components, observer } = options
  const log = options.log.scope('outrider.forward')
  const owner = `${options.namespace}||${options.appId}`
  const store = new ForwardStore({ file: options.file, owner, synchronous: flushOf(options.resources) })
  const lines = new Map<string, PublishLine>()
  /** Also of pub/subs without a line, until what was accepted for them is forwarded. */
  const forwarders = new Map<string, Forwarder>()
  let started = false
  let closed = false

  const away = (name: string) => (components.has(name) ? undefined : (components.waiting?.(name) ?? `no component ${name} is loaded`))

  const send = async (pubsubName: string, event: StoredEvent, signal: AbortSignal) => {
    const named = components.get(pubsubName)
    if (!named) throw new Error(`${away(pubsubName)}: disconnected`)
    const topic = options.namespaceScoped?.(pubsubName) ? options.namespace + event.topic : event.topic
    const { data, contentType } = event
    const request = { topic, data, contentType, metadata: aged(event.metadata, Date.now() - event.acceptedAt) }
    const policy = options.policies?.outbound(pubsubName)
    const began = performance.now()
    try {
      if (policy) await codedRunner(policy, 'http')((attempt) => named.component.publish(request, attempt), signal)
      else await named.component.publish(request, signal)
      options.metrics?.published(pubsubName, event.topic, true, performance.now() - began)
    } catch (error) {
      options.metrics?.published(pubsubName, event.topic, false, performance.now() - began)
      throw error
    }
  }

  const begin = (name: string, forwarder: Forwarder) => {
    if (options.properties(name) === undefined) log.warn(`StoreAndForward names pubsub ${name}, but no component of that name is loaded`)
    forwarder.start()
  }

  const take = (pubsubName: string, { name: resource, spec: { maxBytes, maxAge, timeout } }: StoreAndForwardResource) => {
    const common = { pubsubName, resource, timeout, away: () => away(pubsubName) }
    let forwarder = forwarders.get(pubsubName)
    if (!forwarder?.renew(common)) {
      forwarder = new Forwarder({ ...common, store, log, observer, send: (event, signal) => send(pubsubName, event, signal) })
      forwarders.set(pubsubName, forwarder)
      if (started) begin(pubsubName, forwarder)
    }
    const awaited = () => (components.waiting?.(pubsubName) === undefined ? undefined : lowerCased(options.properties(pubsubName) ?? {}))
    lines.set(pubsubName, createLine({ ...common, maxBytes, maxAge, forwarder, awaited }))
  }

  const leave = (pubsubName: string) => {
    lines.delete(pubsubName)
    const forwarder = forwarders.get(pubsubName)
    const { events } = store.waiting(pubsubName)
    log.info(
      `pubsub ${pubsubName}: no StoreAndForward names it any more, publishes are not kept from now on${events > 0 ? `; ${events} accepted events are still forwarded` : ''}`,
    )
    void forwarder?.retire().then(() => {
      if (forwarders.get(pubsubName) === forwarder && !lines.has(pubsubName)) forwarders.delete(pubsubName)
    })
  }

  const replace = (resources: readonly StoreAndForwardResource[]) => {
    const wanted = new Map<string, StoreAndForwardResource>()
    for (const resource of resources) {
      for (const pubsubName of resource.spec.pubsubs) {
        const { file, line } = resource.source
        if (wanted.has(pubsubName))
          log.warn(`${file}:${line}: StoreAndForward ${resource.name}: pubsub ${pubsubName} has one already; this one counts`)
        wanted.set(pubsubName, resource)
      }
    }
    for (const pubsubName of [...lines.keys()]) if (!wanted.has(pubsubName)) leave(pubsubName)
    for (const [pubsubName, resource] of wanted) take(pubsubName, resource)
  }
  replace(options.resources)

  return {
    lines,
    waiting: () => (closed ? [] : [...forwarders.keys()].map((name) => [name, store.waiting(name)])),
    replace(resources) {
      store.flush(flushOf(resources))
      replace(resources)
    },
    start() {
      started = true
      for (const [name, forwarder] of forwarders) begin(name, forwarder)
      for (const { pubsub, events } of store.pubsubs())
        if (!lines.has(pubsub))
          log.warn(`${events} accepted events of pubsub ${pubsub} wait in ${options.file}, and no StoreAndForward names it any more`)
    },
    came: (name) => forwarders.get(name)?.reached(),
    async [Symbol.asyncDispose]() {
      const ended = await Promise.allSettled([...forwarders.values()].map((forwarder) => forwarder.stop()))
      for (const result of ended) if (result.status === 'rejected') log.warn(`error while ending: ${messageOf(result.reason)}`)
      for (const [name, { events }] of this.waiting())
        if (events > 0) log.info(`pubsub ${name}: ${events} accepted events wait for the next start`)
      closed = true
      store[Symbol.dispose]()
    },
  }
}

function flushOf(resources: readonly StoreAndForwardResource[]): 'full' | 'normal' {
  return resources.some(({ spec }) => spec.synchronous === 'full') ? 'full' : 'normal'
}

function lowerCased(properties: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(properties).map(([name, value]) => [name.toLowerCase(), value]))
}

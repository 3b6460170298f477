import type { AppChannel } from '../../app/channel.ts'
import type { ComponentSet, Named } from '../../components/sets.ts'
import { messageOf } from '../../errors.ts'
import type { ComponentMetrics } from '../../telemetry/component-metrics.ts'
import type { Logger } from '../../telemetry/log.ts'
import type { Tracer } from '../../telemetry/tracing/tracer.ts'
import { askApp } from './ask.ts'
import { bulkHandler } from './bulk-delivery.ts'
import { deadLetters } from './dead-letter.ts'
import { type DeliveryContext, singleHandler } from './delivery.ts'
import type { PubSub } from './driver.ts'
import type { EventApp } from './event-app.ts'
import { createHttpEventApp } from './http-event-app.ts'
import { keepSubscribed } from './keep-subscribed.ts'
import type { PubSubPolicies } from './policy-hook.ts'
import { createPublisher, type Publisher, rawPayload } from './publish.ts'
import type { PublishLine } from './publish-line.ts'
import { compileRules, type Router } from './routing.ts'
import { topicScopes } from './scopes.ts'
import { createStreams, type StreamDelivery, type StreamRequest } from './streams.ts'
import {
  declarative,
  flushesAtOnce,
  info,
  merge,
  programmatic,
  type Subscription,
  type SubscriptionInfo,
  type SubscriptionResource,
} from './subscription.ts'

export interface PubSubOptions {
  components: ComponentSet<PubSub>
  appId: string
  namespace: string
  log: Logger
  /** The app over HTTP; undefined: no app, or `eventApp`. */
  app?: AppChannel | undefined
  /** The app over another wire; wins over `app`. */
  eventApp?: EventApp | undefined
  policies?: PubSubPolicies | undefined
  /** Whether the topics of this component carry the namespace before their name. */
  namespaceScoped?: ((pubsubName: string) => boolean) | undefined
  /** Hears how a subscription is doing: `pubsub/topic`, what it is, its state. */
  onState?: ((name: string, detail: string, state: SubscriptionState, why?: { error?: unknown; nextAttempt?: Date }) => void) | undefined
  /** false: the app is never asked for its subscriptions (`--disable-init-endpoints subscribe`). */
  askApp?: boolean | undefined
  /** Counts what is published and delivered. */
  metrics?: ComponentMetrics | undefined
  tracer?: Tracer | undefined
  /** What stands before the brokers of some pub/subs, by name. */
  lines?: Pick<ReadonlyMap<string, PublishLine>, 'get'> | undefined
}

/** As the lifecycle knows them. */
export type SubscriptionState = 'initialising' | 'up' | 'retrying' | 'failed' | 'closed'

export interface PubSubBlock extends Publisher, AsyncDisposable {
  /** Rejects when a resource cannot be taken: something is missing, or a rule cannot be read. */
  checkResource(resource: SubscriptionResource): Promise<void>
  /** Takes the resources as they are now; what runs is brought in line. Before start, only remembered. */
  declare(resources: readonly SubscriptionResource[]): Promise<void>
  /** Asks the app (the first time) and subscribes. Resolves when each subscription is active or being retried. */
  start(options?: { declarative?: readonly SubscriptionResource[]; signal?: AbortSignal }): Promise<void>
  /** Brings subscriptions in line with the components there are; call it after one came, and before one goes is disposed. */
  refresh(): Promise<void>
  /** Ends all subscriptions but streams, running deliveries finish first; start begins again without asking the app. */
  stop(): Promise<void>
  /**
   * A subscription of the app's own connection; disposing ends it: what was not answered goes back to the broker.
   * Rejects when the topic is not allowed or the broker refuses. `onEnd`: the sidecar has ended it.
   */
  stream(request: StreamRequest, deliver: StreamDelivery, onEnd?: () => void): Promise<AsyncDisposable>
  /** Aborted when the block is disposed: no stream can be opened any more. */
  readonly closing: AbortSignal
  /** All known subscriptions, for metadata. */
  list(): SubscriptionInfo[]
}

interface Active {
  subscription: Subscription
  /** The definition as text: a change means another subscription. */
  definition: string
  component: PubSub
  handle: AsyncDisposable
}

/** Pub/sub for one app: publishing, and delivery of what the app and the resources subscribe to. */
export function createPubSubBlock(options: PubSubOptions): PubSubBlock {
  const { components, appId } = options
  const log = options.log.scope('dapr.runtime.pubsub')
  const app = options.eventApp ?? (options.app && createHttpEventApp(options.app, appId, log))
  const publisher = createPublisher(options)
  const active = new Map<string, Active>()
  const closing = new AbortController()
  let declared: { subscription: Subscription; route: Router }[] = []
  let asked: { subscription: Subscription; route: Router }[] | undefined
  let running = false
  /** One change at a time: each waits for the one before. */
  let turn: Promise<void> = Promise.resolve()

  const inTurn = (change: () => Promise<void>): Promise<void> => {
    const mine = turn.then(change)
    turn = mine.catch(() => {})
    return mine
  }
  const tell = (subscription: Subscription, state: SubscriptionState, why?: { error?: unknown; nextAttempt?: Date }) =>
    options.onState?.(`${subscription.pubsubName}/${subscription.topic}`, subscription.type.toLowerCase(), state, why)
  /** Told of as waiting or refused; nothing of them is active. */
  let idle: Subscription[] = []
  const merged = () =>
    merge([(asked ?? []).map(({ subscription }) => subscription), declared.map(({ subscription }) => subscription)], (message) =>
      log.warn(message),
    )
  const routeOf = (wanted: Subscription) =>
    [...(asked ?? []), ...declared].find(({ subscription }) => subscription === wanted)?.route as Router
  const brokerTopic = (pubsubName: string, topic: string) => (options.namespaceScoped?.(pubsubName) ? options.namespace + topic : topic)

  const contextOf = (subscription: Subscription, named: Named<PubSub>, route: Router, ending: AbortSignal): DeliveryContext => ({
    subscription,
    ending,
    raw: rawPayload(subscription.metadata),
    route,
    policy: options.policies?.inbound(subscription.pubsubName),
    deadLetters: subscription.deadLetterTopic
      ? deadLetters(
          named.component,
          subscription.deadLetterTopic,
          brokerTopic(subscription.pubsubName, subscription.deadLetterTopic),
          options.policies?.outbound(subscription.pubsubName) ?? ((operation, signal) => operation(signal)),
          log,
        )
      : undefined,
    log,
    metrics: options.metrics,
    tracer: options.tracer,
  })

  const begin = async (subscription: Subscription, named: Named<PubSub>, eventApp: EventApp): Promise<AsyncDisposable> => {
    const ending = new AbortController()
    const context = contextOf(subscription, named, routeOf(subscription), ending.signal)
    const { bulk } = subscription
    const handler = bulk
      ? bulkHandler(context, bulk, flushesAtOnce(named.component), eventApp)
      : singleHandler(context, (delivery, signal) => eventApp.deliver(delivery, signal))
    tell(subscription, 'initialising')
    const handle = await keepSubscribed(
      async () => {
        const subscribed = await named.component.subscribe(brokerTopic(named.name, subscription.topic), subscription.metadata, handler, {
          batch: bulk?.maxMessagesCount,
          wait: bulk?.maxAwaitDurationMs,
        })
        tell(subscription, 'up')
        return subscribed
      },
      (error, wait) => {
        tell(subscription, 'retrying', { error, nextAttempt: new Date(Date.now() + wait) })
        log.error(
          `failed to subscribe to topic ${subscription.topic} in pubsub ${named.name}, next attempt in ${wait}ms: ${messageOf(error)}`,
        )
      },
    )
    return endingFirst(ending, handle)
  }

  const streams = createStreams({
    find: (name) => components.get(name),
    maySubscribe: (named, topic) => topicScopes(named.properties, appId).maySubscribe(topic),
    async begin(subscription, named, deliver) {
      const ending = new AbortController()
      const context = contextOf(subscription, named, () => '/', ending.signal)
      const topic = brokerTopic(named.name, subscription.topic)
      return endingFirst(ending, await named.component.subscribe(topic, subscription.metadata, singleHandler(context, deliver)))
    },
    log,
  })

  const reconcile = async () => {
    const wanted = new Map<string, { subscription: Subscription; named: Named<PubSub>; definition: string }>()
    const idleBefore = idle
    idle = []
    for (const subscription of running && app ? merged() : []) {
      const named = components.get(subscription.pubsubName)
      if (!named) {
        log.error(`subscription to topic ${subscription.topic} waits: pubsub ${subscription.pubsubName} is not loaded`)
        idle.push(subscription)
        tell(subscription, 'retrying', { error: new Error(`pubsub ${subscription.pubsubName} is not loaded`) })
      } else if (!topicScopes(named.properties, appId).maySubscribe(subscription.topic)) {
        const refusal = `subscription to topic '${subscription.topic}' on pubsub '${named.name}' is not allowed`
        log.error(`failed to subscribe to topic ${subscription.topic} in pubsub ${named.name}: ${refusal}`)
        idle.push(subscription)
        tell(subscription, 'failed', { error: new Error(refusal) })
      } else wanted.set(`${named.name}||${subscription.topic}`, { subscription, named, definition: JSON.stringify(subscription) })
    }
    const ended = [...active].filter(
      ([key, { definition, component }]) => wanted.get(key)?.definition !== definition || wanted.get(key)?.named.component !== component,
    )
    for (const [key] of ended) active.delete(key)
    for (const { subscription } of [...ended.map(([, one]) => one), ...idleBefore.map((one) => ({ subscription: one }))]) {
      const key = `${subscription.pubsubName}||${subscription.topic}`
      if (!wanted.has(key) && !idle.some((one) => `${one.pubsubName}||${one.topic}` === key)) tell(subscription, 'closed')
    }
    await Promise.all(ended.map(([, { handle }]) => end(handle)))
    await streams.refresh()
    const begun = [...wanted].filter(([key]) => !active.has(key))
    await Promise.all(
      begun.map(async ([key, { subscription, named, definition }]) => {
        try {
          active.set(key, {
            subscription,
            definition,
            component: named.component,
            handle: await begin(subscription, named, app as EventApp),
          })
        } catch (error) {
          tell(subscription, 'failed', { error })
          log.error(`failed to subscribe to topic ${subscription.topic} in pubsub ${named.name}: ${messageOf(error)}`)
        }
      }),
    )
    for (const name of new Set(begun.map(([, { named }]) => named.name))) {
      log.info(
        `app is subscribed to the following topics: [[${begun
          .filter(([, { named }]) => named.name === name)
          .map(([, { subscription }]) => subscription.topic)
          .join(' ')}]] through pubsub=${name}`,
      )
    }
  }

  const end = async (handle: AsyncDisposable) => {
    try {
      await handle[Symbol.asyncDispose]()
    } catch (error) {
      log.warn(`ending a subscription: ${messageOf(error)}`)
    }
  }

  const take = async (resources: readonly SubscriptionResource[]) => {
    const taken: typeof declared = []
    for (const resource of resources) {
      try {
        const subscription = declarative(resource, appId)
        if (subscription) taken.push({ subscription, route: await compileRules(subscription.rules) })
      } catch (error) {
        log.error(`failed to load subscription ${resource.metadata.name}: ${messageOf(error)}`)
      }
    }
    declared = taken
  }

  const ask = async (eventApp: EventApp, signal: AbortSignal) => {
    try {
      const answer = await askApp(eventApp, signal)
      const subscriptions = programmatic(answer, (message) => log.warn(message))
      asked = await Promise.all(
        subscriptions.map(async (subscription) => ({ subscription, route: await compileRules(subscription.rules) })),
      )
    } catch (error) {
      signal.throwIfAborted()
      asked = []
      log.error(`error getting topic list from app: ${messageOf(error)}`)
    }
  }

  const block: PubSubBlock = {
    ...publisher,
    async checkResource(resource) {
      const subscription = declarative(resource, appId)
      if (subscription) await compileRules(subscription.rules)
    },
    declare: (resources) =>
      inTurn(async () => {
        await take(resources)
        await reconcile()
      }),
    start: ({ declarative: resources, signal = new AbortController().signal } = {}) =>
      inTurn(async () => {
        if (resources) await take(resources)
        running = true
        if (options.askApp === false) log.info('Skipping programmatic subscription loading')
        else if (app && !asked && components.size > 0) await ask(app, signal)
        await reconcile()
      }),
    refresh: () =>
      inTurn(async () => {
        if (running && options.askApp !== false && app && !asked && components.size > 0) await ask(app, new AbortController().signal)
        await reconcile()
      }),
    stop: () =>
      inTurn(async () => {
        running = false
        await reconcile()
      }),
    stream: streams.open,
    closing: closing.signal,
    list: () =>
      [
        ...merge([(asked ?? []).map(({ subscription }) => subscription), declared.map(({ subscription }) => subscription)], () => {}),
        ...streams.list(),
      ].map(info),
    async [Symbol.asyncDispose]() {
      closing.abort()
      await Promise.all([block.stop(), streams.end()])
    },
  }
  return block
}

/** Tells a subscription's handlers of its end before the driver waits for them. */
function endingFirst(ending: AbortController, handle: AsyncDisposable): AsyncDisposable {
  return {
    async [Symbol.asyncDispose]() {
      ending.abort()
      await handle[Symbol.asyncDispose]()
    },
  }
}

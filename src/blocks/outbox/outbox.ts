import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { isTruthy } from '../../components/metadata.ts'
import type { ComponentSet, Named } from '../../components/sets.ts'
import { Code, errorInfo, messageOf, OutriderError } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import type { DeliveredMessage, PubSub } from '../pubsub/driver.ts'
import { goDecode } from '../pubsub/go-json.ts'
import { keepSubscribed } from '../pubsub/keep-subscribed.ts'
import type { Publisher } from '../pubsub/publish.ts'
import type { StateOperation, StateSet, StateStore } from '../state/driver.ts'
import type { PublishOutbox } from '../state/state.ts'
import { outboxEvent } from './event.ts'

export interface OutboxOptions {
  stores: ComponentSet<StateStore>
  pubsubs: ComponentSet<PubSub>
  /** Takes the events, first to the internal topic and then to the app's: topic scopes, namespaces and policies are its. */
  publisher: Publisher
  appId: string
  /** NAMESPACE as it is. */
  namespace: string
  log: Logger
  /** Whether the topics of this component carry the namespace before their name. */
  namespaceScoped?: ((pubsubName: string) => boolean) | undefined
  /** How long an event waits for its transaction, milliseconds between looks: doubling from the first to the most. */
  patience?: Patience | undefined
}

interface Patience {
  first: number
  most: number
  total: number
}

/**
 * The transactional outbox. A transaction's events go to an internal topic *before* it runs, each naming a marker that
 * the transaction writes with the state; whoever receives one publishes it to the app's topic once the marker is there,
 * then deletes the marker. No marker: the transaction never happened. At least once, like all of pub/sub.
 */
export interface Outbox extends AsyncDisposable {
  /** The state block's hook. Rejects with ERR_PUBLISH_OUTBOX; the transaction must not run then. */
  readonly publish: PublishOutbox
  /** Subscribes to the internal topics of all stores with an outbox; resolves when each is active or being retried. */
  start(): Promise<void>
  /** Brings the subscriptions in line with the components there are. Before start: nothing. */
  refresh(): Promise<void>
}

/** The settings of one store's outbox. */
interface Settings {
  target: { pubsubName: string; topic: string }
  /** Carries the internal topic. */
  through: string
  internalTopic: string
  discard: boolean
}

/** As long as daprd waits in all: a second, then ten with looks between. The first look is at once: most often the transaction is through by then. */
const PATIENCE: Patience = { first: 25, most: 3000, total: 11_000 }

/** Makes the outbox over the live sets of stores and brokers. */
export function createOutbox(options: OutboxOptions): Outbox {
  const { stores, pubsubs, publisher, appId, namespace } = options
  const log = options.log.scope('dapr.outbox')
  const patience = options.patience ?? PATIENCE
  const active = new Map<string, { component: PubSub; ending: AbortController; handle: AsyncDisposable }>()
  let running = false
  /** One change at a time. */
  let turn: Promise<void> = Promise.resolve()

  const settingsOf = ({ properties }: Named<StateStore>): Settings | undefined => {
    const { outboxpublishpubsub: pubsubName, outboxpublishtopic: topic, outboxpubsub, outboxdiscardwhenmissingstate } = properties
    if (!pubsubName || !topic) return undefined
    return {
      target: { pubsubName, topic },
      through: outboxpubsub || pubsubName,
      internalTopic: `${namespace}${appId}${topic}outbox`,
      discard: isTruthy(outboxdiscardwhenmissingstate),
    }
  }

  /** Stores whose events share an internal topic: an event does not say whose it is, its marker does. */
  const storesOf = (through: string, internalTopic: string) =>
    [...stores.values()].flatMap((store) => {
      const settings = settingsOf(store)
      return settings?.through === through && settings.internalTopic === internalTopic ? [{ store, settings }] : []
    })

  const handle = async (through: string, internalTopic: string, message: DeliveredMessage, signal: AbortSignal, ending: AbortSignal) => {
    const marker = markerOf(message, internalTopic)
    const candidates = storesOf(through, internalTopic)
    if (candidates.length === 0) throw new Error(`no loaded state store has its outbox on topic ${internalTopic} of pubsub ${through}`)
    const look = async () => {
      const failures: unknown[] = []
      for (const candidate of candidates) {
        try {
          const item = await candidate.store.component.get({ key: marker, metadata: {} }, signal)
          if (item && item.data.length > 0) return candidate
        } catch (error) {
          failures.push(new Error(`state store ${candidate.store.name}: ${messageOf(error)}`, { cause: error }))
        }
      }
      throw failures.length > 0
        ? new AggregateError(failures)
        : new MissingState(`outbox state ${marker} not found: its transaction has not run`)
    }
    let found: (typeof candidates)[number]
    try {
      found = await retried(look, patience, AbortSignal.any([signal, ending]))
    } catch (error) {
      const topics = candidates.map(({ settings }) => `topic ${settings.target.topic} of pubsub ${settings.target.pubsubName}`).join(', ')
      // A store that could not be read may well hold the marker: only what is surely missing is dropped.
      const discard =
        error instanceof MissingState && !signal.aborted && !ending.aborted && candidates.every(({ settings }) => settings.discard)
      log.error(
        `failed to publish an outbox event to ${topics}: ${messageOf(error)}, ${discard ? 'discarding it' : 'rejecting it for later'}`,
      )
      if (discard) return
      throw error
    }
    const { component } = found.store
    // Passed through as the CloudEvent it is: the publisher only sets topic and pubsubname.
    await publisher.publish(
      { ...found.settings.target, data: message.data, contentType: 'application/cloudevents+json', metadata: {} },
      signal,
    )
    await retried(() => component.delete({ kind: 'delete', key: marker, metadata: {} }, signal), patience, signal)
  }

  const reconcile = async () => {
    const wanted = new Map<string, { named: Named<PubSub>; topic: string }>()
    for (const store of running ? stores.values() : []) {
      const settings = settingsOf(store)
      if (!settings) continue
      const named = pubsubs.get(settings.through)
      if (named) wanted.set(`${settings.through}||${settings.internalTopic}`, { named, topic: settings.internalTopic })
      else log.warn(`could not subscribe to the outbox topic of state store ${store.name}: pubsub ${settings.through} is not loaded`)
    }
    const ended = [...active].filter(([key, { component }]) => wanted.get(key)?.named.component !== component)
    for (const [key] of ended) active.delete(key)
    await Promise.all(ended.map(([, subscription]) => end(subscription)))
    await Promise.all(
      [...wanted]
        .filter(([key]) => !active.has(key))
        .map(async ([key, { named, topic }]) => {
          const ending = new AbortController()
          const brokerTopic = options.namespaceScoped?.(named.name) ? namespace + topic : topic
          const subscription = await keepSubscribed(
            () =>
              named.component.subscribe(brokerTopic, {}, (message, signal) => handle(named.name, topic, message, signal, ending.signal)),
            (error, wait) =>
              log.error(
                `failed to subscribe to outbox topic ${topic} in pubsub ${named.name}, next attempt in ${wait}ms: ${messageOf(error)}`,
              ),
          )
          active.set(key, { component: named.component, ending, handle: subscription })
        }),
    )
  }

  const end = async ({ ending, handle }: { ending: AbortController; handle: AsyncDisposable }) => {
    // Those that wait for a transaction give up first; those that publish finish.
    ending.abort(new Error('the sidecar ends its outbox subscription'))
    try {
      await handle[Symbol.asyncDispose]()
    } catch (error) {
      log.warn(`ending an outbox subscription: ${messageOf(error)}`)
    }
  }

  const inTurn = (change: () => void): Promise<void> => {
    const mine = turn.then(() => {
      change()
      return reconcile()
    })
    turn = mine.catch(() => {})
    return mine
  }

  const run = (now: boolean) => () => {
    running = now
  }

  return {
    async publish(store, operations, signal, trace) {
      const settings = settingsOf(store)
      if (!settings) return operations
      const projections = new Map<string, StateSet>()
      const kept: StateOperation[] = []
      for (const operation of operations) {
        if (operation.kind === 'upsert' && isTruthy(operation.metadata['outbox.projection'])) projections.set(operation.key, operation)
        else kept.push(operation)
      }
      const markers: StateSet[] = []
      for (const operation of kept) {
        if (operation.kind !== 'upsert') continue
        const marker = `outbox-${randomUUID()}`
        try {
          const data = outboxEvent({
            marker,
            operation,
            payload: projections.get(operation.key) ?? operation,
            pubsubName: settings.through,
            appId,
            trace,
          })
          await publisher.publish(
            {
              pubsubName: settings.through,
              topic: settings.internalTopic,
              data,
              contentType: 'application/cloudevents+json',
              metadata: {},
            },
            signal,
          )
        } catch (error) {
          throw publishFailed(store.name, appId, error)
        }
        markers.push({ kind: 'upsert', key: marker, value: Buffer.from('"0"'), json: true, metadata: {} })
      }
      return [...kept, ...markers]
    },
    start: () => inTurn(run(true)),
    refresh: () => inTurn(() => {}),
    [Symbol.asyncDispose]: () => inTurn(run(false)),
  }
}

/** Every look found the store readable and the marker absent. */
class MissingState extends Error {
  override readonly name = 'MissingState'
}

function markerOf(message: DeliveredMessage, topic: string): string {
  const event = goDecode(message.data.toString())
  const id = typeof event === 'object' && event !== null && 'id' in event ? event.id : undefined
  // The id is deleted as a key of the store, so it must be one that an outbox wrote.
  if (typeof id === 'string' && id.startsWith('outbox-')) return id
  throw new Error(`a message of topic ${topic} is no outbox event: its id is not that of a marker`)
}

/** Tries until it works or the time is over; rejects with the last error. */
async function retried<T>(work: () => Promise<T>, { first, most, total }: Patience, signal: AbortSignal): Promise<T> {
  const end = performance.now() + total
  for (let wait = first; ; wait = Math.min(wait * 2, most)) {
    signal.throwIfAborted()
    try {
      return await work()
    } catch (error) {
      if (performance.now() + wait > end) throw error
    }
    await pause(wait, undefined, { signal })
  }
}

function publishFailed(store: string, appId: string, cause: unknown): OutriderError {
  // What the broker said, without the publisher's words around it.
  const reason = messageOf(cause instanceof OutriderError && cause.cause !== undefined ? cause.cause : cause)
  return new OutriderError({
    code: 'ERR_PUBLISH_OUTBOX',
    http: 500,
    grpc: Code.Internal,
    message: `error while publishing outbox message: ${reason}`,
    hint: `the transaction has not run; check the pub/sub components that outboxPublishPubsub and outboxPubsub of state store ${store} name`,
    details: [errorInfo('DAPR_PUBSUB_OUTBOX', { appID: appId, error: reason })],
    retryable: true,
    cause,
  })
}

import type { Named } from '../../components/sets.ts'
import { messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import type { PubSub } from './driver.ts'
import { notFound } from './errors.ts'
import type { Delivery, Verdict } from './event-app.ts'
import { keepSubscribed } from './keep-subscribed.ts'
import type { Subscription } from './subscription.ts'

/** What the app asks for when it opens a stream of its own. */
export interface StreamRequest {
  pubsubName: string
  topic: string
  metadata: Readonly<Record<string, string>>
  deadLetterTopic?: string | undefined
}

/** Rejects with DeliveryError. */
export type StreamDelivery = (delivery: Delivery, signal: AbortSignal | undefined) => Promise<Verdict>

/** The subscriptions that apps opened over connections of their own: one for each stream, however many have the same topic. */
export interface Streams {
  /** Rejects when the topic is not allowed, the component is not there or the broker refuses. `onEnd`: the sidecar ends it. */
  open(request: StreamRequest, deliver: StreamDelivery, onEnd?: () => void): Promise<AsyncDisposable>
  /** Moves streams to the components that there are now; those without one wait. */
  refresh(): Promise<void>
  list(): Subscription[]
  /** Takes no more, lets deliveries under way finish, then tells each stream of its end. */
  end(): Promise<void>
}

export interface StreamsOptions {
  find: (pubsubName: string) => Named<PubSub> | undefined
  maySubscribe: (named: Named<PubSub>, topic: string) => boolean
  /** Subscribes at the broker; disposing tells the handlers first. */
  begin: (subscription: Subscription, named: Named<PubSub>, deliver: StreamDelivery) => Promise<AsyncDisposable>
  log: Logger
}

interface Stream {
  subscription: Subscription
  deliver: StreamDelivery
  onEnd: (() => void) | undefined
  component: PubSub | undefined
  handle: AsyncDisposable | undefined
}

export function createStreams(options: StreamsOptions): Streams {
  const { find, maySubscribe, begin, log } = options
  const streams = new Set<Stream>()
  let ended = false

  const detach = async (stream: Stream) => {
    const { handle } = stream
    stream.handle = undefined
    stream.component = undefined
    try {
      await handle?.[Symbol.asyncDispose]()
    } catch (error) {
      log.warn(`ending the stream of topic ${stream.subscription.topic}: ${messageOf(error)}`)
    }
  }

  return {
    async open({ pubsubName, topic, metadata, deadLetterTopic = '' }, deliver, onEnd) {
      if (ended) throw new Error('api server closed')
      const named = find(pubsubName)
      if (!named) throw notFound(pubsubName, null)
      if (!maySubscribe(named, topic)) throw new Error(`subscription to topic '${topic}' on pubsub '${pubsubName}' is not allowed`)
      const subscription: Subscription = {
        pubsubName,
        topic,
        metadata,
        rules: [{ match: '', path: '/' }],
        deadLetterTopic,
        type: 'STREAMING',
      }
      const stream: Stream = { subscription, deliver, onEnd, component: named.component, handle: undefined }
      stream.handle = await begin(subscription, named, deliver)
      if (ended) {
        await detach(stream)
        throw new Error('api server closed')
      }
      streams.add(stream)
      return {
        async [Symbol.asyncDispose]() {
          if (streams.delete(stream)) await detach(stream)
        },
      }
    },

    async refresh() {
      if (ended) return
      await Promise.all(
        [...streams].map(async (stream) => {
          const { subscription, deliver } = stream
          const named = find(subscription.pubsubName)
          if (named?.component === stream.component) return
          await detach(stream)
          if (!named || !streams.has(stream) || !maySubscribe(named, subscription.topic)) return
          stream.component = named.component
          const handle = await keepSubscribed(
            () => begin(subscription, named, deliver),
            (error, wait) =>
              log.error(
                `failed to subscribe the stream of topic ${subscription.topic} in pubsub ${named.name} again, next attempt in ${wait}ms: ${messageOf(error)}`,
              ),
          )
          stream.handle = handle
          // The app may have left in between.
          if (!streams.has(stream)) await detach(stream)
        }),
      )
    },

    list: () => [...streams].map(({ subscription }) => subscription),

    async end() {
      ended = true
      await Promise.all(
        [...streams].map(async (stream) => {
          await detach(stream)
          streams.delete(stream)
          stream.onEnd?.()
        }),
      )
    },
  }
}

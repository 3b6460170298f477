import { messageOf } from '../../errors.ts'
import type { ComponentMetrics, ProcessStatus } from '../../telemetry/component-metrics.ts'
import type { Logger } from '../../telemetry/log.ts'
import type { Span } from '../../telemetry/tracing/span.ts'
import { parseTraceparent } from '../../telemetry/tracing/span-context.ts'
import type { Tracer } from '../../telemetry/tracing/tracer.ts'
import type { DeadLetters } from './dead-letter.ts'
import { type DeliveredMessage, GivenUpError, type MessageHandler } from './driver.ts'
import { type Delivery, DeliveryError, type Verdict } from './event-app.ts'
import { type Incoming, isExpired, readMessage } from './incoming.ts'
import type { Runner } from './policy-hook.ts'
import type { Router } from './routing.ts'
import type { Subscription } from './subscription.ts'

/** What delivering one subscription's messages needs. */
export interface DeliveryContext {
  subscription: Subscription
  raw: boolean
  route: Router
  deadLetters: DeadLetters | undefined
  /** The inbound policy; undefined: one attempt, the broker redelivers. */
  policy: Runner | undefined
  /** Aborted as soon as the subscription is to end: calls under way finish, no other begins, nothing is dead-lettered. */
  ending: AbortSignal
  log: Logger
  /** Counts what becomes of messages. */
  metrics?: ComponentMetrics | undefined
  /** Makes a span of each delivery; absent: nobody traces. */
  tracer?: Tracer | undefined
}

/**
 * The handler of one subscription, message by message:
 * read → expired? → route → app → handled, dropped (dead letter) or failed (dead letter, or back to the broker).
 * An app that is merely unreachable sends nothing to the dead letters, unless a policy has had its say.
 */
export function singleHandler(
  context: DeliveryContext,
  deliver: (delivery: Delivery, signal: AbortSignal | undefined) => Promise<Verdict>,
): MessageHandler {
  const { subscription, deadLetters, ending } = context
  return async (message, signal) => {
    if (ending.aborted || signal.aborted) throw endedError(subscription)
    const prepared = prepare(context, message)
    if (prepared instanceof Error) {
      count(context, isDead(context, prepared, signal) ? 'drop' : 'retry')
      return settleFailure(context, message, prepared, signal)
    }
    if (prepared === 'DROP') {
      count(context, 'drop')
      return deadLetters?.send(message)
    }
    const delivery = {
      pubsubName: subscription.pubsubName,
      topic: subscription.topic,
      path: prepared.path,
      event: prepared.event,
      body: prepared.body,
      traceparent: prepared.traceparent,
      metadata: { ...message.metadata, pubsubName: subscription.pubsubName },
    }
    let verdict: Verdict
    try {
      verdict = await underPolicy(context, signal, (attempt) =>
        counted(
          context,
          traced(context, delivery, (step) => deliver(step, attempt)),
        ),
      )
    } catch (error) {
      return settleFailure(context, message, error, signal)
    }
    if (verdict === 'DROP') await deadLetters?.send(message)
  }
}

function count({ subscription, metrics }: DeliveryContext, processed: ProcessStatus, elapsed?: number): void {
  metrics?.delivered(
    subscription.pubsubName,
    subscription.topic,
    processed,
    processed === 'drop' && elapsed !== undefined ? 'success' : processed,
    elapsed,
  )
}

/** The span of delivering one event, below that of its publishing. */
export function deliverySpan(tracer: Tracer, topic: string, traceparent: string): Span {
  const span = tracer.start(`pubsub/${topic}`, 'client', parseTraceparent(traceparent))
  span.attributes['messaging.system'] = 'pubsub'
  span.attributes['messaging.destination.name'] = topic
  return span
}

/** Below the event's own trace, if it has one. */
function traced(
  { tracer, subscription }: DeliveryContext,
  delivery: Delivery,
  deliver: (delivery: Delivery) => Promise<Verdict>,
): Promise<Verdict> {
  if (!tracer || delivery.traceparent === undefined) return deliver(delivery)
  const span = deliverySpan(tracer, subscription.topic, delivery.traceparent)
  return deliver({ ...delivery, traceparent: span.traceparent }).then(
    (verdict) => {
      span.end()
      return verdict
    },
    (error: unknown) => {
      span.end(messageOf(error))
      throw error
    },
  )
}

/** Each attempt counts, as in Dapr; an event that the app drops by its answer was processed with success. */
function counted(context: DeliveryContext, attempt: Promise<Verdict>): Promise<Verdict> {
  if (!context.metrics) return attempt
  const began = performance.now()
  return attempt.then(
    (verdict) => {
      count(context, verdict === 'DROP' ? 'drop' : 'success', performance.now() - began)
      return verdict
    },
    (error: unknown) => {
      count(context, 'retry', performance.now() - began)
      throw error
    },
  )
}

export interface Prepared extends Incoming {
  path: string
}

/** A message read and routed; DROP when nobody wants it (expired, no route), an Error when it cannot be read or routed. */
export function prepare({ subscription, raw, route, log }: DeliveryContext, message: DeliveredMessage): Prepared | 'DROP' | Error {
  try {
    const incoming = readMessage(message, subscription.pubsubName, subscription.topic, raw)
    const { event } = incoming
    if (isExpired(event)) {
      log.warn(`dropping expired pub/sub event ${String(event.id)} as of ${String(event.expiration)}`)
      return 'DROP'
    }
    const path = route(event)
    if (path === undefined) {
      log.debug(`no matching route for event in pubsub ${subscription.pubsubName} and topic ${subscription.topic}; skipping`)
      return 'DROP'
    }
    return { ...incoming, path }
  } catch (error) {
    const problem = new Error(
      `error reading event in pubsub ${subscription.pubsubName} and topic ${subscription.topic}: ${messageOf(error)}`,
      { cause: error },
    )
    log.error(problem.message)
    return problem
  }
}

/** Whether a failed message belongs to the dead letters now, rather than back to the broker. */
export function isDead({ deadLetters, policy, ending }: DeliveryContext, error: unknown, signal: AbortSignal): boolean {
  if (!deadLetters || ending.aborted || signal.aborted) return false
  return policy !== undefined || !(error instanceof DeliveryError && error.unreachable)
}

/** The failure as the broker hears it: whether a policy has had its say. */
export function outcome({ policy, ending }: DeliveryContext, error: unknown, signal: AbortSignal): unknown {
  return policy === undefined || ending.aborted || signal.aborted ? error : new GivenUpError(messageOf(error), { cause: error })
}

async function settleFailure(context: DeliveryContext, message: DeliveredMessage, error: unknown, signal: AbortSignal): Promise<void> {
  if (!isDead(context, error, signal)) throw outcome(context, error, signal)
  const { subscription, deadLetters, log } = context
  await deadLetters?.send(message)
  log.warn(
    `event of topic ${subscription.topic} in pubsub ${subscription.pubsubName} went to dead letter topic ${subscription.deadLetterTopic}: ${messageOf(error)}`,
  )
}

/**
 * Tries as the policy says, each attempt with its own signal. When the subscription ends, an attempt under way finishes,
 * but no other is waited for.
 */
export function underPolicy<T>(
  { subscription, policy, ending }: DeliveryContext,
  signal: AbortSignal,
  operation: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  if (!policy) return operation(signal)
  return new Promise((resolve, reject) => {
    let underWay = false
    const end = () => {
      if (!underWay) reject(endedError(subscription))
    }
    ending.addEventListener('abort', end, { once: true })
    const attempt = async (own: AbortSignal | undefined) => {
      if (ending.aborted) throw endedError(subscription)
      underWay = true
      try {
        return await operation(bothOf(own, signal))
      } catch (error) {
        // The policy may pause now: nobody waits for that.
        if (ending.aborted) reject(error)
        throw error
      } finally {
        underWay = false
      }
    }
    policy(attempt, signal)
      .then(resolve, reject)
      .finally(() => ending.removeEventListener('abort', end))
  })
}

export function endedError({ pubsubName, topic }: Subscription): Error {
  return new Error(`the subscription to topic ${topic} of pubsub ${pubsubName} has ended`)
}

/** The signal of one attempt, when a policy gives it one, and that of the whole delivery. */
function bothOf(attempt: AbortSignal | undefined, whole: AbortSignal): AbortSignal {
  return attempt === undefined || attempt === whole ? whole : AbortSignal.any([attempt, whole])
}

import { randomUUID } from 'node:crypto'
import { messageOf } from '../../errors.ts'
import { type DeliveryContext, deliverySpan, endedError, isDead, outcome, prepare, underPolicy } from './delivery.ts'
import type { DeliveredMessage, MessageHandler } from './driver.ts'
import { type BulkDeliveryEntry, type BulkVerdict, DeliveryError, type EventApp } from './event-app.ts'
import type { BulkSubscribe } from './subscription.ts'

/** A message in a batch, waiting for its outcome. */
interface Waiting {
  message: DeliveredMessage
  signal: AbortSignal
  entry?: BulkDeliveryEntry
  traceparent?: string | undefined
  resolve(): void
  reject(error: unknown): void
}

/**
 * The handler of a bulk subscription. Messages gather until `maxMessagesCount` are there or `maxAwaitDurationMs` have
 * passed since the first (at once with `immediate`); each resolves or rejects with its own outcome.
 */
export function bulkHandler(context: DeliveryContext, bulk: BulkSubscribe, immediate: boolean, app: EventApp): MessageHandler {
  let batch: Waiting[] = []
  let timer: NodeJS.Timeout | undefined

  const flush = () => {
    clearTimeout(timer)
    const full = batch
    batch = []
    // deliverBatch settles every message by itself; what it throws here would be lost.
    if (full.length > 0)
      deliverBatch(context, full, app).catch((error: unknown) => {
        for (const { reject } of full) reject(error)
      })
  }

  // Whoever still waits when the subscription ends goes back to the broker; a batch under way finishes.
  context.ending.addEventListener('abort', () => {
    clearTimeout(timer)
    const left = batch
    batch = []
    for (const { reject } of left) reject(endedError(context.subscription))
  })

  return (message, signal) =>
    new Promise<void>((resolve, reject) => {
      if (context.ending.aborted || signal.aborted) return reject(endedError(context.subscription))
      batch.push({ message, signal, resolve, reject })
      if (batch.length >= bulk.maxMessagesCount) flush()
      else if (batch.length === 1) timer = setTimeout(flush, immediate ? 0 : bulk.maxAwaitDurationMs)
    })
}

async function deliverBatch(context: DeliveryContext, batch: readonly Waiting[], app: EventApp): Promise<void> {
  const dropped: Waiting[] = []
  const dead: { waiting: Waiting; error: unknown }[] = []
  const fail = (waiting: Waiting, error: unknown) => {
    if (isDead(context, error, waiting.signal)) dead.push({ waiting, error })
    else waiting.reject(outcome(context, error, waiting.signal))
  }
  const byPath = new Map<string, Map<string, Waiting>>()
  for (const waiting of batch) {
    const prepared = prepare(context, waiting.message)
    if (prepared instanceof Error) fail(waiting, prepared)
    else if (prepared === 'DROP') dropped.push(waiting)
    else {
      const { message } = waiting
      if (!context.raw) waiting.traceparent = prepared.traceparent
      waiting.entry = {
        entryId: randomUUID(),
        data: message.data,
        raw: context.raw,
        contentType: message.contentType ?? (context.raw ? 'application/octet-stream' : 'application/cloudevents+json'),
        event: prepared.event,
        metadata: message.metadata,
      }
      const group = byPath.get(prepared.path)
      if (group) group.set(waiting.entry.entryId, waiting)
      else byPath.set(prepared.path, new Map([[waiting.entry.entryId, waiting]]))
    }
  }
  await Promise.all(
    [...byPath].map(async ([path, group]) => {
      for (const [waiting, verdict] of await deliverGroup(context, path, group, app)) {
        if (verdict === 'SUCCESS' || verdict === 'GONE') waiting.resolve()
        else if (verdict === 'DROP') dropped.push(waiting)
        else fail(waiting, verdict)
      }
    }),
  )
  await bury(context, [...dropped, ...dead.map(({ waiting }) => waiting)])
}

/** One route's share of a batch; a policy tries only those entries again that failed. */
async function deliverGroup(
  context: DeliveryContext,
  path: string,
  group: ReadonlyMap<string, Waiting>,
  app: EventApp,
): Promise<Map<Waiting, Exclude<BulkVerdict, DeliveryError> | Error>> {
  const { pubsubName, topic } = context.subscription
  const outcomes = new Map<Waiting, Exclude<BulkVerdict, DeliveryError> | Error>()
  const { signal } = group.values().next().value as Waiting
  let left = group
  try {
    await underPolicy(context, signal, async (attempt) => {
      const entries = [...left.values()].map(({ entry }) => entry as BulkDeliveryEntry)
      const traceparents = [...left.values()].flatMap(({ traceparent }) => traceparent ?? [])
      const { tracer } = context
      const spans = tracer ? traceparents.map((traceparent) => deliverySpan(tracer, topic, traceparent)) : []
      // There is one header for all of them: as in daprd it names the last.
      const traceparent = spans.at(-1)?.traceparent ?? traceparents.at(-1)
      const delivery = { id: randomUUID(), pubsubName, topic, path, metadata: { pubsubName }, traceparent, entries }
      const began = performance.now()
      let verdicts: Awaited<ReturnType<EventApp['deliverBulk']>>
      try {
        verdicts = await app.deliverBulk(delivery, attempt)
        for (const span of spans) span.end()
      } catch (error) {
        for (const span of spans) span.end(messageOf(error))
        throw error
      }
      const failed = new Map<string, Waiting>()
      let first: Error | undefined
      for (const [entryId, waiting] of left) {
        const verdict = verdicts.get(entryId) ?? new DeliveryError(`the app gave no status for entry ${entryId}`)
        outcomes.set(waiting, verdict)
        if (!(verdict instanceof Error)) continue
        failed.set(entryId, waiting)
        first ??= verdict
      }
      countBatch(
        context,
        [...left.keys()].map((entryId) => verdicts.get(entryId)),
        performance.now() - began,
      )
      left = failed
      if (first) throw first
    })
  } catch (error) {
    const problem = error instanceof Error ? error : new Error(String(error))
    for (const waiting of left.values()) outcomes.set(waiting, outcomes.get(waiting) ?? problem)
  }
  return outcomes
}

function countBatch({ metrics, subscription }: DeliveryContext, verdicts: readonly (BulkVerdict | undefined)[], elapsed: number): void {
  if (!metrics) return
  const ends = { success: 0, retry: 0, drop: 0 }
  for (const verdict of verdicts) ends[verdict === 'SUCCESS' ? 'success' : verdict === 'DROP' || verdict === 'GONE' ? 'drop' : 'retry']++
  metrics.bulkDelivered(subscription.pubsubName, subscription.topic, ends, elapsed)
}

/** To the dead letters, if there are any, and then forgotten by the broker. */
async function bury({ deadLetters }: DeliveryContext, messages: readonly Waiting[]): Promise<void> {
  if (messages.length === 0) return
  const errors = deadLetters ? await deadLetters.sendAll(messages.map(({ message }) => message)) : []
  for (const [index, waiting] of messages.entries()) {
    if (errors[index]) waiting.reject(errors[index])
    else waiting.resolve()
  }
}

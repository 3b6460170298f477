import { parseDuration } from '../../../components/metadata.ts'
import { isLost } from '../../../components/unreachable.ts'
import { messageOf } from '../../../errors.ts'
import type { BulkEntry } from '../driver.ts'
import { publishFailed, storeFull } from '../errors.ts'
import type { BulkPublishResult } from '../publish.ts'
import type { LineBulk, LineEvent, PublishLine } from '../publish-line.ts'
import { bounded } from './bounded.ts'
import type { Forwarder } from './forwarder.ts'
import type { Lane, OutgoingEvent } from './store.ts'

export interface LineOptions {
  pubsubName: string
  resource: string
  maxBytes: number
  /** Milliseconds. */
  maxAge: number
  /** Milliseconds. */
  timeout: number
  forwarder: Forwarder
  /** Why the component is not up; undefined: it is. */
  away(): string | undefined
  awaited(): Readonly<Record<string, string>> | undefined
}

type Rest<F extends (...given: never[]) => unknown> = Parameters<F> extends [unknown, ...infer Others] ? Others : never

/** Metadata by which brokers keep an order: Kafka's, and those of brokers with sessions and ordering keys. */
const KEYS = ['partitionkey', '__key', 'orderingkey', 'sessionid']

/**
 * Publishing to a broker that may be away. An event goes to the broker, unless earlier ones of its lane wait or the broker is
 * known to be away; then, and when the broker turns out to be, into the store. What the broker answers is passed on.
 */
export function createLine(options: LineOptions): PublishLine {
  const { pubsubName, forwarder, timeout } = options

  const keep = async (event: LineEvent, lane: Lane, reason: string, cause: unknown) => {
    const expiresAt = Date.now() + Math.min(options.maxAge, ttlOf(event.metadata) ?? Number.POSITIVE_INFINITY)
    const kept: OutgoingEvent = { ...event, key: lane.key }
    const fits = await forwarder.keep(kept, expiresAt, options.maxBytes, reason).catch((error: unknown) => {
      throw publishFailed(pubsubName, event.topic, `${reason}; nor could the event be kept for later: ${messageOf(error)}`, error)
    })
    if (!fits) throw storeFull(pubsubName, event.topic, options.maxBytes, options.resource, reason, cause)
  }

  return {
    awaited: options.awaited,

    publish: (event, direct, signal) => forwarder.during(() => publish(event, direct, signal)),
    bulkPublish: (request, direct, signal) => forwarder.during(() => bulkPublish(request, direct, signal)),
  }

  async function publish(event: LineEvent, ...[direct, signal]: Rest<PublishLine['publish']>): Promise<void> {
    const lane = laneOf(event)
    let reason = forwarder.mustWait(lane)
    let cause: unknown
    if (reason === undefined && direct) {
      try {
        await bounded(direct, timeout, signal)
        return forwarder.reached()
      } catch (error) {
        if (signal?.aborted || !isLost(error, [pubsubName, event.topic])) throw error
        reason = messageOf(error)
        cause = error
        forwarder.lost(reason)
      }
    }
    await keep(event, lane, reason ?? options.away() ?? 'the component is not up', cause)
  }

  async function bulkPublish(request: LineBulk, ...[direct, signal]: Rest<PublishLine['bulkPublish']>): Promise<BulkPublishResult> {
    const failures = new Map<string, unknown>()
    const errors = new Map<string, string>()
    const later = new Map<string, string>()
    const now: BulkEntry[] = []
    for (const entry of request.entries) {
      const reason = direct ? forwarder.mustWait(laneOf(eventOf(request, entry))) : (options.away() ?? 'the component is not up')
      if (reason === undefined) now.push(entry)
      else later.set(entry.entryId, reason)
    }
    if (direct && now.length > 0) {
      const result = await attempt(direct, now, signal)
      if (result.failedEntries.length < now.length) forwarder.reached()
      for (const { entryId, error } of result.failedEntries) {
        const cause = result.causes?.get(entryId) ?? result.error
        if (!signal?.aborted && isLost(cause, [pubsubName, request.topic])) later.set(entryId, error)
        else {
          errors.set(entryId, error)
          failures.set(entryId, cause)
        }
      }
      if (later.size > 0 && now.some(({ entryId }) => later.has(entryId))) forwarder.lost(later.values().next().value as string)
    }
    await Promise.all(
      request.entries.map(async (entry) => {
        const reason = later.get(entry.entryId)
        if (reason === undefined) return
        const event = eventOf(request, entry)
        await keep(event, laneOf(event), reason, undefined).catch((error: unknown) => {
          errors.set(entry.entryId, messageOf(error))
          failures.set(entry.entryId, error)
        })
      }),
    )
    const [first] = failures.values()
    if (first === undefined) return { failedEntries: [] }
    // Nothing was taken, and all for want of room: the whole request is refused.
    if (later.size === request.entries.length && failures.size === later.size) throw first
    return {
      failedEntries: request.entries.flatMap(({ entryId }) => {
        const error = errors.get(entryId)
        return error === undefined ? [] : [{ entryId, error }]
      }),
      error: first instanceof Error ? first : new Error(messageOf(first)),
    }
  }

  async function attempt(
    direct: (entries: readonly BulkEntry[], signal: AbortSignal) => Promise<BulkPublishResult>,
    entries: readonly BulkEntry[],
    signal: AbortSignal | undefined,
  ): Promise<BulkPublishResult> {
    try {
      return await bounded((inner) => direct(entries, inner), timeout, signal)
    } catch (thrown) {
      const error = thrown instanceof Error ? thrown : new Error(messageOf(thrown))
      return { failedEntries: entries.map(({ entryId }) => ({ entryId, error: error.message })), error }
    }
  }
}

function eventOf({ topic, metadata }: LineBulk, entry: BulkEntry): LineEvent {
  return { topic, data: entry.data, contentType: entry.contentType, metadata: { ...metadata, ...entry.metadata } }
}

function laneOf({ topic, metadata }: LineEvent): Lane {
  for (const name in metadata) {
    const value = metadata[name] as string
    if (value !== '' && KEYS.includes(name.toLowerCase())) return { topic, key: value }
  }
  return { topic, key: '' }
}

const isTtl = (name: string) => ['ttlinseconds', 'ttl'].includes(name.toLowerCase())

/** Milliseconds that the event itself asks for; undefined without one that can be read. */
function ttlOf(metadata: Readonly<Record<string, string>>): number | undefined {
  for (const name in metadata) {
    if (!isTtl(name) || metadata[name] === '') continue
    const ttl = parseDuration(metadata[name] as string)
    if (ttl !== undefined && ttl > 0) return ttl
  }
  return undefined
}

/** The metadata of an event that has waited: its TTL is what is left of it, in seconds. */
export function aged(metadata: Readonly<Record<string, string>>, waited: number): Readonly<Record<string, string>> {
  const ttl = ttlOf(metadata)
  if (ttl === undefined) return metadata
  const left = String(Math.max(1, Math.ceil((ttl - waited) / 1000)))
  return Object.fromEntries(Object.entries(metadata).map(([name, value]) => [name, isTtl(name) && value !== '' ? left : value]))
}

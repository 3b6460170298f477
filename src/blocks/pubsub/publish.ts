import { type ComponentSet, explained, type Named } from '../../components/sets.ts'
import { messageOf, OutriderError } from '../../errors.ts'
import type { ComponentMetrics } from '../../telemetry/component-metrics.ts'
import type { Tracer } from '../../telemetry/tracing/tracer.ts'
import { NO_TRACE, type Trace, toCloudEvent } from './cloud-event.ts'
import type { BulkEntry, PublishRequest, PubSub } from './driver.ts'
import { EntrySpans } from './entry-spans.ts'
import { badCloudEvent, badEntryId, badMetadata, forbidden, nameEmpty, notFound, publishFailed, topicEmpty } from './errors.ts'
import type { PubSubPolicies, Runner } from './policy-hook.ts'
import { codedRunner } from './publish-code.ts'
import type { PublishLine } from './publish-line.ts'
import { type TopicScopes, topicScopes } from './scopes.ts'

/** Entries published at once to a broker that cannot take many in one call. */
const PARALLEL = 100

export interface PublishOptions {
  components: ComponentSet<PubSub>
  appId: string
  namespace: string
  policies?: PubSubPolicies | undefined
  /** Whether the topics of this component carry the namespace before their name. */
  namespaceScoped?: ((pubsubName: string) => boolean) | undefined
  metrics?: ComponentMetrics | undefined
  /** What stands before the brokers of some pub/subs, by name; undefined: nothing anywhere. */
  lines?: Pick<ReadonlyMap<string, PublishLine>, 'get'> | undefined
  /** Makes a span of each entry of a bulk; absent: nobody traces. */
  tracer?: Tracer | undefined
}

/** A component that is up, or one that a line stands in for while it waits for its server. */
type Destination = Omit<Named<PubSub>, 'component'> & { component: PubSub | undefined }

interface Target {
  pubsubName: string
  topic: string
  /** Request metadata, e.g. `ttlInSeconds`, `rawPayload`, `cloudevent.id`; the broker gets all of it. */
  metadata: Readonly<Record<string, string>>
  trace?: Trace | undefined
  /** Over which wire the app asked; default http. The two differ in details of errors and raw events. */
  wire?: 'http' | 'grpc' | undefined
}

export interface PublishEvent extends Target {
  data: Buffer
  /** Default `text/plain`. */
  contentType?: string | undefined
}

export interface PublishEntry {
  entryId: string
  event: Buffer
  contentType: string
  /** undefined is not {}: only an entry with metadata inherits the request's. */
  metadata?: Readonly<Record<string, string>> | undefined
}

export interface BulkPublish extends Target {
  /** What the spans of the entries are called. Default: they have none. */
  spanName?: string | undefined
  entries: readonly PublishEntry[]
}

/** Entries the broker did not take; `error` when publishing failed as a whole or in part. */
export interface BulkPublishResult {
  failedEntries: { entryId: string; error: string }[]
  error?: Error | undefined
  /** What the messages of `failedEntries` were made of. */
  causes?: ReadonlyMap<string, Error> | undefined
}

export interface Publisher {
  /** Whose events these are; errors name it. */
  readonly appId: string
  /** Checks the names of a request before its body is read. Throws as publish does. */
  check(target: Target): void
  publish(event: PublishEvent, signal?: AbortSignal): Promise<void>
  bulkPublish(request: BulkPublish, signal?: AbortSignal): Promise<BulkPublishResult>
}

/** Publishing: wraps into CloudEvents, checks topic scopes, hands over to the broker. Throws OutriderError with Dapr's codes. */
export function createPublisher(options: PublishOptions): Publisher {
  const { components, appId, metrics, tracer } = options
  const scopes = new WeakMap<Destination, TopicScopes>()

  const awaited = (name: string): Destination | undefined => {
    const properties = options.lines?.get(name)?.awaited()
    return properties && { name, type: '', version: '', component: undefined, properties }
  }

  const find = (target: Target): Destination => {
    const named: Destination | undefined = components.get(target.pubsubName) ?? awaited(target.pubsubName)
    if (named && target.topic && target.pubsubName) return named
    const details = target.wire === 'grpc' ? null : { ...target.metadata }
    if (!target.pubsubName) throw nameEmpty(details)
    if (!named) throw explained(notFound(target.pubsubName, details), components, target.pubsubName)
    throw topicEmpty(target.pubsubName, details)
  }

  const isRaw = (target: Target): boolean => {
    try {
      return rawPayload(target.metadata)
    } catch (error) {
      throw badMetadata(target.pubsubName, { ...target.metadata }, messageOf(error))
    }
  }

  const wrap = (
    named: Destination,
    target: Target,
    body: Buffer,
    contentType: string,
    metadata: Readonly<Record<string, string>>,
  ): Buffer => {
    const expires = !named.component?.features.includes('MESSAGE_TTL')
    try {
      return toCloudEvent({
        body,
        contentType,
        pubsubName: target.pubsubName,
        topic: target.topic,
        appId,
        trace: target.trace ?? NO_TRACE,
        metadata,
        expires,
      })
    } catch (error) {
      throw badCloudEvent(target.pubsubName, appId, messageOf(error))
    }
  }

  const allow = (named: Destination, target: Target) => {
    let scope = scopes.get(named)
    if (!scope) {
      scope = topicScopes(named.properties, appId)
      scopes.set(named, scope)
    }
    if (!scope.mayPublish(target.topic)) throw forbidden(target.pubsubName, target.topic, appId)
  }

  const brokerTopic = (target: Target) => (options.namespaceScoped?.(target.pubsubName) ? options.namespace + target.topic : target.topic)
  const runnerOf = ({ pubsubName, wire }: Target): Runner => {
    const policy = options.policies?.outbound(pubsubName)
    return policy ? codedRunner(policy, wire ?? 'http') : (operation, signal) => operation(signal)
  }

  const handOver = async (target: Target, component: PubSub, request: PublishRequest, signal?: AbortSignal) => {
    const began = performance.now()
    try {
      await runnerOf(target)((attempt) => component.publish(request, attempt), signal)
      metrics?.published(target.pubsubName, target.topic, true, performance.now() - began)
    } catch (error) {
      metrics?.published(target.pubsubName, target.topic, false, performance.now() - began)
      throw error
    }
  }

  return {
    appId,
    check: (target) => void find(target),

    async publish(event, signal) {
      const named = find(event)
      const raw = isRaw(event)
      const data = raw ? event.data : wrap(named, event, event.data, event.contentType ?? '', event.metadata)
      allow(named, event)
      const metadata =
        raw && event.wire === 'grpc'
          ? { ...event.metadata, traceid: event.trace?.traceparent ?? '', tracestate: event.trace?.tracestate ?? '' }
          : event.metadata
      const request = { topic: brokerTopic(event), data, contentType: raw ? undefined : 'application/cloudevents+json', metadata }
      const { component } = named
      const line = options.lines?.get(event.pubsubName)
      try {
        if (line)
          await line.publish(
            { ...request, topic: event.topic },
            component && ((attempt) => handOver(event, component, request, attempt)),
            signal,
          )
        else if (component) await handOver(event, component, request, signal)
      } catch (error) {
        if (error instanceof OutriderError && error.code.startsWith('ERR_PUBSUB')) throw error
        throw publishFailed(event.pubsubName, event.topic, messageOf(error), error)
      }
    },

    async bulkPublish(request, signal) {
      const named = find(request)
      const ids = new Set<string>()
      for (const { entryId } of request.entries) {
        if (!entryId || ids.has(entryId)) throw badEntryId(request.pubsubName, request.topic, appId)
        ids.add(entryId)
      }
      const raw = isRaw(request)
      const spans = new EntrySpans(tracer, request.spanName, request.trace)
      let problem: unknown
      try {
        const entries = request.entries.map((entry): BulkEntry => {
          const metadata = entry.metadata === undefined ? {} : { ...request.metadata, ...entry.metadata }
          return raw
            ? { entryId: entry.entryId, data: entry.event, contentType: entry.contentType, metadata }
            : {
                entryId: entry.entryId,
                data: wrap(named, { ...request, trace: spans.next() }, entry.event, entry.contentType, metadata),
                contentType: 'application/cloudevents+json',
                metadata,
              }
        })
        allow(named, request)
        if (entries.length === 0) return { failedEntries: [] }
        const { component } = named
        const direct =
          component &&
          (async (some: readonly BulkEntry[], given?: AbortSignal) => {
            const began = performance.now()
            const result = await publishEntries(component, brokerTopic(request), some, request.metadata, runnerOf(request), given)
            metrics?.bulkPublished(request.pubsubName, request.topic, result.error === undefined, performance.now() - began)
            return result
          })
        const line = options.lines?.get(request.pubsubName)
        const result = line
          ? await line.bulkPublish({ topic: request.topic, entries, metadata: request.metadata }, direct, signal)
          : ((await direct?.(entries, signal)) ?? { failedEntries: [] })
        problem = result.error
        return result
      } catch (error) {
        problem = error
        throw error
      } finally {
        spans.end(problem)
      }
    },
  }
}

/** Hands entries to a broker, in one call if it can; a policy tries only those again that failed. */
export async function publishEntries(
  component: PubSub,
  topic: string,
  entries: readonly BulkEntry[],
  metadata: Readonly<Record<string, string>>,
  run: Runner,
  signal?: AbortSignal,
): Promise<BulkPublishResult> {
  let left = entries
  let failed: { entryId: string; error: string }[] = []
  let causes: Map<string, Error> | undefined
  try {
    await run(async (attempt) => {
      const errors = component.bulkPublish
        ? await component.bulkPublish(topic, left, metadata, attempt)
        : await publishEach(component, topic, left, metadata, attempt)
      failed = errors.map(({ entryId, error }) => ({ entryId, error: messageOf(error) }))
      causes = new Map(errors.map(({ entryId, error }) => [entryId, error]))
      const ids = new Set(failed.map(({ entryId }) => entryId))
      left = left.filter(({ entryId }) => ids.has(entryId))
      if (left.length > 0) throw errors[0]?.error ?? new Error('the broker refused entries')
    }, signal)
    return { failedEntries: [] }
  } catch (error) {
    if (failed.length === 0) failed = left.map(({ entryId }) => ({ entryId, error: messageOf(error) }))
    return { failedEntries: failed, causes, error: error instanceof Error ? error : new Error(messageOf(error)) }
  }
}

async function publishEach(
  component: PubSub,
  topic: string,
  entries: readonly BulkEntry[],
  metadata: Readonly<Record<string, string>>,
  signal?: AbortSignal,
) {
  const failed: { entryId: string; error: Error }[] = []
  let next = 0
  const worker = async () => {
    for (let entry = entries[next++]; entry; entry = entries[next++]) {
      try {
        await component.publish(
          { topic, data: entry.data, contentType: entry.contentType, metadata: { ...metadata, ...entry.metadata } },
          signal,
        )
      } catch (error) {
        failed.push({ entryId: entry.entryId, error: error instanceof Error ? error : new Error(messageOf(error)) })
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(PARALLEL, entries.length) }, worker))
  return failed
}

/** The metadata key `rawPayload` as Go's ParseBool reads it; throws when it is neither true nor false. */
export function rawPayload(metadata: Readonly<Record<string, string>>): boolean {
  const text = metadata.rawPayload
  if (text === undefined || text === '') return false
  if (['1', 't', 'T', 'TRUE', 'true', 'True'].includes(text)) return true
  if (['0', 'f', 'F', 'FALSE', 'false', 'False'].includes(text)) return false
  throw new Error(`rawPayload value must be a valid boolean: actual is '${text}'`)
}

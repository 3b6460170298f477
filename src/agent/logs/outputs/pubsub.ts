import { toCloudEvent } from '../../../blocks/pubsub/cloud-event.ts'
import type { RoleContext } from '../../role.ts'
import type { LogEvent } from '../event.ts'
import type { PubSubOutputSpec } from '../spec.ts'
import { Template } from '../template.ts'
import { NONE, PartlyTaken, type Sink } from './sink.ts'

/** Publishes at a time to a broker that cannot take many in one call. */
const PARALLEL = 100
const NO_TRACE = { traceparent: '', tracestate: '' }

/** Events to topics of a pub/sub component, each a CloudEvent unless `raw`. Its id stays the same when it is sent again. */
export function openPubSub({ component, topic, raw = false }: PubSubOutputSpec, context: RoleContext, id: string): Sink {
  const topics = new Template(topic, context.env)
  const dataOf = (event: LogEvent, topic: string) => {
    const body = Buffer.from(event.json)
    if (raw) return body
    return toCloudEvent({
      body,
      contentType: 'application/json',
      pubsubName: component,
      topic,
      appId: context.appId,
      trace: NO_TRACE,
      metadata: { 'cloudevent.id': `${id}-${event.origin}-${event.index}`, 'cloudevent.type': 'dev.outrider.log' },
      expires: false,
    })
  }
  return {
    async send(events, signal) {
      // Looked up anew: the component may have been replaced.
      const broker = context.components.pubsub(component)
      const contentType = raw ? 'application/json' : 'application/cloudevents+json'
      const left: LogEvent[] = []
      let failure: unknown
      const failed = (event: LogEvent, error: unknown) => {
        left.push(event)
        failure = error
      }
      if (broker.bulkPublish) {
        for (const [name, group] of Map.groupBy(events, (event) => topics.text(event))) {
          const entries = group.map((event, index) => ({ entryId: String(index), data: dataOf(event, name), contentType, metadata: {} }))
          try {
            for (const { entryId, error } of await broker.bulkPublish(name, entries, {}, signal))
              failed(group[Number(entryId)] as LogEvent, error)
          } catch (error) {
            for (const event of group) failed(event, error)
          }
        }
      } else {
        for (let at = 0; at < events.length; at += PARALLEL)
          await Promise.all(
            events.slice(at, at + PARALLEL).map(async (event) => {
              const name = topics.text(event)
              await broker
                .publish({ topic: name, data: dataOf(event, name), contentType, metadata: {} }, signal)
                .catch((error: unknown) => failed(event, error))
            }),
          )
      }
      if (left.length > 0)
        throw new PartlyTaken(`${component}: ${failure instanceof Error ? failure.message : String(failure)}`, left, NONE)
      return NONE
    },
    async [Symbol.asyncDispose]() {},
  }
}

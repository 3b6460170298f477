import type { RoleContext } from '../../role.ts'
import { ByteText } from '../byte-text.ts'
import type { LogEvent } from '../event.ts'
import { formatTime } from '../formats/time.ts'
import type { ElasticsearchSpec } from '../spec.ts'
import { Template } from '../template.ts'
import { secretOf } from '../values.ts'
import { PartlyTaken, type Refusal, type Sink } from './sink.ts'
import { Web } from './web.ts'

/** Only what is looked at comes back. */
const ANSWER = 'filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason'

interface Item {
  status?: number
  error?: { type?: string; reason?: string }
}

/**
 * The bulk API of Elasticsearch and OpenSearch. Each event has an id made of its place in the buffer (`id` names the buffer), so
 * that one that is sent again is there once: 409 then says that it had come.
 */
export async function openElasticsearch(spec: ElasticsearchSpec, where: string, context: RoleContext, id: string): Promise<Sink> {
  const key = await secretOf(spec.apiKey, `${where}.apiKey`, context)
  const urls = spec.urls.map((url) => `${url.replace(/\/+$/, '')}/_bulk?${ANSWER}`)
  const web = await Web.open(urls, spec, where, context, key === undefined ? {} : { authorization: `ApiKey ${key}` })
  const { operation = 'create', ids = true, pipeline, logstashFormat = false, tagField } = spec
  const timestamp = spec.timestampField ?? '@timestamp'
  const prefix = new Template(spec.logstashPrefix ?? 'logstash', context.env)
  const dates = spec.logstashDateFormat ?? '%Y.%m.%d'
  const index = new Template(spec.index ?? 'logs', context.env, true)
  const indexOf = (event: LogEvent) =>
    (logstashFormat ? `${prefix.text(event)}-${formatTime(dates, event.time)}` : index.text(event)).toLowerCase()
  const rest = pipeline === undefined ? '' : `,"pipeline":${JSON.stringify(pipeline)}`
  const names = tagField === undefined ? [timestamp] : [timestamp, tagField]
  const text = new ByteText()
  let duplicates = 0

  const linesOf = (event: LogEvent) => {
    const action = `{"${operation}":{"_index":${JSON.stringify(indexOf(event))}${ids ? `,"_id":"${id}-${event.origin}-${event.index}"` : ''}${rest}}}\n`
    const tag = tagField === undefined ? '' : `,${JSON.stringify(tagField)}:${JSON.stringify(event.tag)}`
    // A time of the event's own stays.
    if (tag === '' && event.json.includes(`"${timestamp}"`) && Object.hasOwn(event.record, timestamp)) return `${action}${event.json}\n`
    const stamp = `${JSON.stringify(timestamp)}:"${new Date(event.time).toISOString()}"`
    return `${action}${event.jsonWith(stamp + tag, names)}\n`
  }

  return {
    get duplicates() {
      return duplicates
    },
    async send(events, signal) {
      for (const event of events) text.add(linesOf(event))
      const reply = await web.send({ method: 'POST', contentType: 'application/x-ndjson', body: text.take(), signal })
      const refusals: Refusal[] = []
      const left: LogEvent[] = []
      const items = itemsOf(reply.body, events.length)
      let reason = ''
      for (const [index, item] of items.entries()) {
        const { status = 0 } = item
        const event = events[index] as LogEvent
        if (status >= 200 && status < 300) continue
        if (status === 409 && operation === 'create' && ids) {
          duplicates++
          continue
        }
        const why = `${status} ${item.error?.type ?? ''}: ${item.error?.reason ?? ''}`
        if (status === 429 || status >= 500 || status === 0) {
          left.push(event)
          reason = why
        } else refusals.push({ event, reason: why })
      }
      if (left.length > 0) throw new PartlyTaken(`${left.length} of ${events.length} events were put off: ${reason}`, left, refusals)
      return refusals
    },
    [Symbol.asyncDispose]: () => web[Symbol.asyncDispose](),
  }
}

function itemsOf(body: Buffer, expected: number): Item[] {
  const answer = JSON.parse(body.toString('utf8')) as { items?: Record<string, Item>[] }
  const items = (answer.items ?? []).map((each) => Object.values(each)[0] ?? {})
  if (items.length !== expected) throw new Error(`the answer to a bulk of ${expected} events tells of ${items.length}: this is no bulk API`)
  return items
}

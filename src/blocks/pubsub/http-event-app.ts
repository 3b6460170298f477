import type { AppChannel, AppRequest } from '../../app/channel.ts'
import { messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import { HOP_BY_HOP } from '../../transport/hop-by-hop.ts'
import { type BulkDelivery, type BulkVerdict, type Delivery, DeliveryError, type EventApp, type Verdict } from './event-app.ts'
import { goString } from './go-json.ts'

/** Headers that belong to one connection or one body, never to an event. */
const OWN = new Set([...HOP_BY_HOP, 'content-length', 'content-type', 'host', 'expect'])
const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/

/** An app that speaks HTTP: asked with GET /dapr/subscribe, given events by POST. */
export function createHttpEventApp(channel: AppChannel, appId: string, log: Logger): EventApp {
  const call = async (request: AppRequest) => {
    try {
      return await channel.call(request)
    } catch (error) {
      throw new DeliveryError(`error returned from app channel while sending pub/sub event to app: ${messageOf(error)}`, {
        unreachable: true,
        cause: error,
      })
    }
  }

  return {
    async subscriptions(signal) {
      const response = await channel.call({
        method: 'GET',
        path: '/dapr/subscribe',
        headers: { 'content-type': 'application/json', 'dapr-app-id': appId },
        signal,
      })
      if (response.status === 404) {
        log.debug(`app has no subscriptions: GET /dapr/subscribe answered 404`)
        return undefined
      }
      if (response.status !== 200) {
        log.error(`app returned http status code ${response.status} from subscription endpoint`)
        return undefined
      }
      const text = response.body.toString()
      return text.trim() === '' ? undefined : JSON.parse(text)
    },

    async deliver(delivery, signal) {
      const headers = headersOf(delivery.metadata, 'application/cloudevents+json')
      if (delivery.traceparent !== undefined) headers.traceparent = delivery.traceparent
      const { status, body } = await call({ method: 'POST', path: pathOf(delivery.path), headers, body: delivery.body, signal })
      return verdictOf(delivery, status, body)
    },

    async deliverBulk(delivery, signal) {
      const request = {
        method: 'POST',
        path: pathOf(delivery.path),
        headers: headersOf(delivery.metadata, 'application/json'),
        body: bulkBody(delivery),
        signal,
      }
      const all = (verdict: BulkVerdict) => new Map(delivery.entries.map(({ entryId }) => [entryId, verdict]))
      let response: Awaited<ReturnType<typeof call>>
      try {
        response = await call(request)
      } catch (error) {
        return all(error as DeliveryError)
      }
      const { status, body } = response
      if (status === 404) {
        log.error(
          `non-retriable error returned from app while processing bulk pub/sub event ${delivery.id}. status code returned: ${status}`,
        )
        return all('GONE')
      }
      if (status < 200 || status > 299)
        return all(
          new DeliveryError(
            `retriable error returned from app while processing bulk pub/sub event ${delivery.id}, topic: ${delivery.topic}, body: ${shorten(body)}. status code returned: ${status}`,
          ),
        )
      return bulkVerdicts(delivery, body)
    },
  }

  function verdictOf({ event, topic }: Delivery, status: number, body: Buffer): Verdict {
    if (status === 404) {
      log.error(
        `non-retriable error returned from app while processing pub/sub event ${event.id}: ${shorten(body)}. status code returned: ${status}`,
      )
      return 'DROP'
    }
    if (status < 200 || status > 299) {
      throw new DeliveryError(
        `retriable error returned from app while processing pub/sub event ${event.id}, topic: ${topic}, body: ${shorten(body)}. status code returned: ${status}`,
        { status },
      )
    }
    const answer = statusIn(body)
    if (answer === undefined) log.debug(`skipping status check due to error parsing result from pub/sub event ${event.id}`)
    switch (answer) {
      case undefined:
      case '':
      case 'SUCCESS':
        return 'SUCCESS'
      case 'DROP':
        log.warn(`DROP status returned from app while processing pub/sub event ${event.id}`)
        return 'DROP'
      case 'RETRY':
        throw new DeliveryError(`RETRY status returned from app while processing pub/sub event ${event.id}`)
      default:
        throw new DeliveryError(`unknown status returned from app while processing pub/sub event ${event.id}: ${answer}`)
    }
  }

  function bulkVerdicts(delivery: BulkDelivery, body: Buffer): Map<string, BulkVerdict> {
    const verdicts = new Map<string, BulkVerdict>()
    const known = new Set(delivery.entries.map(({ entryId }) => entryId))
    let statuses: unknown
    let missing = 'is missing in the answer of the app'
    try {
      statuses = (JSON.parse(body.toString()) as { statuses?: unknown } | null)?.statuses
    } catch (error) {
      missing = `got an answer that is not JSON: ${messageOf(error)}`
    }
    for (const entry of Array.isArray(statuses) ? (statuses as unknown[]) : []) {
      const { entryId, status } = (entry ?? {}) as { entryId?: unknown; status?: unknown }
      if (typeof entryId !== 'string' || !known.has(entryId)) {
        log.warn(`invalid entry id received from app while processing pub/sub event ${String(entryId)}`)
        continue
      }
      if (status === 'SUCCESS' || status === 'DROP') verdicts.set(entryId, status)
      else
        verdicts.set(
          entryId,
          new DeliveryError(
            status === 'RETRY'
              ? `RETRY required while processing bulk subscribe event for entry id: ${entryId}`
              : `unknown status returned from app while processing bulk subscribe event ${entryId}: ${String(status ?? '')}`,
          ),
        )
    }
    for (const entryId of known)
      if (!verdicts.has(entryId))
        verdicts.set(entryId, new DeliveryError(`entry ${entryId} of bulk pub/sub event ${delivery.id} ${missing}`))
    return verdicts
  }
}

/** The `status` of an answer; undefined when it is not a JSON object. */
function statusIn(body: Buffer): string | undefined {
  if (body.length === 0) return ''
  try {
    const answer: unknown = JSON.parse(body.toString())
    if (typeof answer !== 'object' || answer === null || Array.isArray(answer)) return undefined
    const status = (answer as { status?: unknown }).status ?? ''
    return typeof status === 'string' ? status : undefined
  } catch {
    return undefined
  }
}

function pathOf(route: string): string {
  return route.startsWith('/') ? route : `/${route}`
}

function headersOf(metadata: Readonly<Record<string, string>>, contentType: string): Record<string, string> {
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(metadata)) {
    const lower = name.toLowerCase()
    // A raw event published without a trace says so by an empty one.
    if (lower === 'tracestate' && value === '') continue
    if (!OWN.has(lower) && !lower.endsWith('-bin') && lower !== 'dapr-api-token' && NAME.test(name) && VALUE.test(value))
      headers[name] = value
  }
  headers['Content-Type'] = contentType
  return headers
}

function bulkBody(delivery: BulkDelivery): Buffer {
  const parts: (string | Buffer)[] = [`{"entries":[`]
  for (const [index, entry] of delivery.entries.entries()) {
    parts.push(
      `${index > 0 ? ',' : ''}{"entryId":${goString(entry.entryId)},"event":`,
      entry.raw ? `"${entry.data.toString('base64')}"` : entry.data,
    )
    if (Object.keys(entry.metadata).length > 0) parts.push(`,"metadata":${JSON.stringify(entry.metadata)}`)
    parts.push(`,"contentType":${goString(entry.contentType)}}`)
  }
  parts.push(
    `],"id":"${delivery.id}","metadata":${JSON.stringify(delivery.metadata)},"pubsubname":${goString(delivery.pubsubName)},"topic":${goString(delivery.topic)},"type":"com.dapr.event.sent.bulk"}`,
  )
  return Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)))
}

/** An app's answer as far as it fits a log line. */
function shorten(body: Buffer): string {
  return body.length > 1000 ? `${body.subarray(0, 1000).toString()}…` : body.toString()
}

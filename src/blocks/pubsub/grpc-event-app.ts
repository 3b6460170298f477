import type { OutgoingHttpHeaders } from 'node:http2'
import type { GrpcChannel } from '../../app/grpc-channel.ts'
import { Code, messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import { toTraceBin } from '../../telemetry/trace-bin.ts'
import { encodeBinary } from '../../transport/grpc/metadata.ts'
import { describeStatus, GrpcStatus } from '../../transport/grpc/status.ts'
import { HOP_BY_HOP } from '../../transport/hop-by-hop.ts'
import { type BulkDelivery, type BulkVerdict, DeliveryError, type EventApp } from './event-app.ts'
import {
  checkEntry,
  decodeTopicEventResponse,
  encodeBulkRequest,
  encodeTopicEvent,
  ListTopicSubscriptionsResponse,
  TopicEventBulkResponse,
} from './topic-event.ts'

const CALLBACK = '/dapr.proto.runtime.v1.AppCallback/'
const BULK = `${CALLBACK}OnBulkTopicEvent`
const BULK_ALPHA = '/dapr.proto.runtime.v1.AppCallbackAlpha/OnBulkTopicEventAlpha1'
const NONE = Buffer.alloc(0)

/** Metadata that belongs to one connection, one body or the protocol, never to an event. */
const RESERVED = new Set([...HOP_BY_HOP, 'content-length', 'content-type', 'dapr-api-token', 'expect', 'host'])
const NAME = /^(?!grpc-)[0-9a-z_.-]+$/
const VALUE = /^[\x20-\x7e]*$/

/** An app that speaks gRPC: asked by ListTopicSubscriptions, given events by OnTopicEvent and its bulk forms. */
export function createGrpcEventApp(channel: GrpcChannel, log: Logger): EventApp {
  /** In the order to try: what worked last stands first, so that an older app is not asked in vain for each batch. */
  let bulkPaths = [BULK, BULK_ALPHA]
  return {
    async subscriptions(signal) {
      let reply: Buffer
      try {
        reply = await channel.unary(`${CALLBACK}ListTopicSubscriptions`, NONE, { signal })
      } catch (error) {
        if (!isUnimplemented(error)) throw error
        log.info('pubsub subscriptions: gRPC app does not implement ListTopicSubscriptions')
        return undefined
      }
      return ListTopicSubscriptionsResponse.decode(reply).subscriptions.map(({ routes, ...subscription }) => ({
        ...subscription,
        // Unlike an HTTP app, this one can take events without a path.
        routes: routes && (routes.rules.length > 0 || routes.default) ? routes : { rules: [{ match: '', path: '' }] },
      }))
    },

    async deliver(delivery, signal) {
      const { event } = delivery
      let reply: Buffer
      try {
        const headers = headersOf(delivery.metadata, delivery.traceparent)
        reply = await channel.unary(`${CALLBACK}OnTopicEvent`, encodeTopicEvent(delivery), { headers, ...(signal && { signal }) })
      } catch (error) {
        // daprd acknowledges what the app cannot take, without a dead letter.
        if (isUnimplemented(error)) {
          log.warn(`non-retriable error returned from app while processing pub/sub event ${event.id}: ${describe(error)}`)
          return 'SUCCESS'
        }
        throw failure(`error returned from app while processing pub/sub event ${event.id}`, error)
      }
      return verdictOf(decodeTopicEventResponse(reply), event.id, log)
    },

    async deliverBulk(delivery, signal) {
      const verdicts = new Map<string, BulkVerdict>()
      const entries = delivery.entries.filter((entry) => {
        try {
          checkEntry(entry)
          return true
        } catch (error) {
          verdicts.set(entry.entryId, failure(`entry ${entry.entryId} of bulk pub/sub event ${delivery.id} cannot be sent`, error))
          return false
        }
      })
      if (entries.length === 0) return verdicts
      const request = encodeBulkRequest(delivery, entries)
      const options = { headers: headersOf(delivery.metadata, delivery.traceparent), ...(signal && { signal }) }
      const all = (verdict: BulkVerdict) => {
        for (const { entryId } of entries) verdicts.set(entryId, verdict)
        return verdicts
      }
      const [first, second] = bulkPaths as [string, string]
      for (const path of [first, second]) {
        try {
          const reply = await channel.unary(path, request, options)
          if (path === second) bulkPaths = [second, first]
          return bulkVerdicts(delivery, TopicEventBulkResponse.decode(reply), verdicts, log)
        } catch (error) {
          if (!isUnimplemented(error)) return all(failure('error returned from app while processing bulk pub/sub event', error))
          log.warn(
            path === first
              ? `falling back to ${second.slice(second.lastIndexOf('/') + 1)} due to unimplemented error: ${describe(error)}`
              : `non-retriable error returned from app while processing bulk pub/sub event: ${describe(error)}`,
          )
        }
      }
      return all('GONE')
    },
  }
}

/** What a TopicEventResponse's status means; shared with streams. Throws DeliveryError for RETRY and unknown ones. */
export function verdictOf(status: number, id: unknown, log: Logger): 'SUCCESS' | 'DROP' {
  if (status === 0) return 'SUCCESS'
  if (status === 2) {
    log.warn(`DROP status returned from app while processing pub/sub event ${id}`)
    return 'DROP'
  }
  throw new DeliveryError(
    status === 1
      ? `RETRY status returned from app while processing pub/sub event ${id}`
      : `unknown status returned from app while processing pub/sub event ${id}, status: ${status}`,
  )
}

function bulkVerdicts(
  { id, entries }: BulkDelivery,
  { statuses }: ReturnType<typeof TopicEventBulkResponse.decode>,
  verdicts: Map<string, BulkVerdict>,
  log: Logger,
): Map<string, BulkVerdict> {
  const known = new Set(entries.map(({ entryId }) => entryId))
  for (const { entryId, status } of statuses) {
    if (!known.has(entryId)) log.warn(`invalid entry id received from app while processing pub/sub event ${entryId}`)
    else if (status === 0) verdicts.set(entryId, 'SUCCESS')
    else if (status === 2) {
      log.warn(`DROP status returned from app while processing pub/sub event for entry id: ${entryId}`)
      verdicts.set(entryId, 'DROP')
    } else {
      const what = status === 1 ? 'RETRY' : `unknown status ${status}`
      verdicts.set(entryId, new DeliveryError(`${what} returned from app while processing pub/sub event for entry id: ${entryId}`))
    }
  }
  for (const entryId of known)
    if (!verdicts.has(entryId))
      verdicts.set(entryId, new DeliveryError(`entry ${entryId} of bulk pub/sub event ${id} is missing in the answer of the app`))
  return verdicts
}

/** The client makes UNIMPLEMENTED of HTTP 404 too: so answers the JavaScript SDK what it has no handler for. */
function isUnimplemented(error: unknown): boolean {
  return error instanceof GrpcStatus && error.code === Code.Unimplemented
}

function failure(what: string, error: unknown): DeliveryError {
  const message = `${what}: ${describe(error)}`
  if (!(error instanceof GrpcStatus)) return new DeliveryError(message, { cause: error })
  // A status with a cause was made here: the app itself said nothing.
  const unreachable = error.code === Code.Unavailable && error.cause !== undefined
  return new DeliveryError(message, { status: error.code, unreachable, cause: error })
}

function describe(error: unknown): string {
  return error instanceof GrpcStatus ? describeStatus(error) : messageOf(error)
}

/** A broker's metadata as gRPC metadata: lower case; binary values (`-bin`) in Base64. */
function headersOf(metadata: Readonly<Record<string, string>>, traceparent: string | undefined): OutgoingHttpHeaders {
  const headers: OutgoingHttpHeaders = {}
  for (const name in metadata) {
    const lower = name.toLowerCase()
    const value = metadata[name] as string
    if (RESERVED.has(lower) || !NAME.test(lower)) continue
    if (lower.endsWith('-bin')) headers[lower] = encodeBinary(Buffer.from(value))
    else if (VALUE.test(value)) headers[lower] = value
  }
  if (traceparent !== undefined) {
    headers.traceparent = traceparent
    const binary = toTraceBin(traceparent)
    if (binary !== undefined) headers['grpc-trace-bin'] = binary
  }
  return headers
}

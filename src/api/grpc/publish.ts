import { publishFailed } from '../../blocks/pubsub/errors.ts'
import type { Publisher } from '../../blocks/pubsub/publish.ts'
import { messageOf } from '../../errors.ts'
import { unary } from '../../transport/grpc/server.ts'
import { decodePublishEvent, encodeEmpty } from './messages.ts'
import { DAPR, daprUnary, type GrpcMethods } from './method.ts'
import { BulkPublishRequest, BulkPublishResponse } from './publish-messages.ts'
import { traceOf } from './trace.ts'

/** PublishEvent, and BulkPublishEvent under both its names. */
export function publishMethods(pubsub: Pick<Publisher, 'publish' | 'bulkPublish'>): GrpcMethods {
  return [
    [
      `${DAPR}PublishEvent`,
      unary(decodePublishEvent, encodeEmpty, async ({ pubsubName, topic, data, contentType, metadata }, call) => {
        const trace = traceOf(call)
        await pubsub.publish(
          { pubsubName, topic, data, contentType: contentType || undefined, metadata, wire: 'grpc', ...(trace ? { trace } : {}) },
          call.signal,
        )
      }),
    ],
    ...['BulkPublishEvent', 'BulkPublishEventAlpha1'].map((name) =>
      daprUnary(name, BulkPublishRequest, BulkPublishResponse, async ({ pubsubName, topic, entries, metadata }, call) => {
        const trace = traceOf(call)
        const { failedEntries, error } = await pubsub.bulkPublish(
          {
            pubsubName,
            topic,
            metadata,
            // As daprd, slash and all.
            spanName: `${DAPR}${name}/`,
            // An absent map and an empty one look the same on the wire; only what has entries counts as given.
            entries: entries.map((entry) => ({ ...entry, metadata: Object.keys(entry.metadata).length > 0 ? entry.metadata : undefined })),
            wire: 'grpc',
            ...(trace ? { trace } : {}),
          },
          call.signal,
        )
        // As daprd: an error hides which entries failed, so the caller sends all of them again.
        if (error) throw publishFailed(pubsubName, topic, messageOf(error), error)
        return { failedEntries }
      }),
    ),
  ]
}

import { bytes, map, message, nested, repeated, string } from '../../transport/grpc/message.ts'

const P = 'dapr.proto.runtime.v1.'

const BulkPublishRequestEntry = message(`${P}BulkPublishRequestEntry`, {
  entryId: string(1),
  event: bytes(2),
  contentType: string(3),
  metadata: map(4),
})

export const BulkPublishRequest = message(`${P}BulkPublishRequest`, {
  pubsubName: string(1),
  topic: string(2),
  entries: repeated(nested(3, BulkPublishRequestEntry)),
  metadata: map(4),
})

const BulkPublishResponseFailedEntry = message(`${P}BulkPublishResponseFailedEntry`, { entryId: string(1), error: string(2) })

export const BulkPublishResponse = message(`${P}BulkPublishResponse`, {
  failedEntries: repeated(nested(1, BulkPublishResponseFailedEntry)),
})

import { bytes, map, message, nested, repeated, string } from '../../transport/grpc/message.ts'

const P = 'dapr.proto.components.v1'

export const PublishRequest = message(`${P}.PublishRequest`, {
  data: bytes(1),
  pubsubName: string(2),
  topic: string(3),
  metadata: map(4),
  contentType: string(5),
})
const BulkMessageEntry = message(`${P}.BulkMessageEntry`, { entryId: string(1), event: bytes(2), contentType: string(3), metadata: map(4) })
export const BulkPublishRequest = message(`${P}.BulkPublishRequest`, {
  entries: repeated(nested(1, BulkMessageEntry)),
  pubsubName: string(2),
  topic: string(3),
  metadata: map(4),
})
const FailedEntry = message(`${P}.BulkPublishResponseFailedEntry`, { entryId: string(1), error: string(2) })
export const BulkPublishResponse = message(`${P}.BulkPublishResponse`, { failedEntries: repeated(nested(1, FailedEntry)) })

const Topic = message(`${P}.Topic`, { name: string(1), metadata: map(2) })
const AckError = message(`${P}.AckMessageError`, { message: string(1) })
export const PullMessagesRequest = message(`${P}.PullMessagesRequest`, {
  topic: nested(1, Topic),
  ackMessageId: string(2),
  ackError: nested(3, AckError),
})
export const PullMessagesResponse = message(`${P}.PullMessagesResponse`, {
  data: bytes(1),
  topicName: string(2),
  metadata: map(3),
  contentType: string(4),
  id: string(5),
})

import { bool, bytes, int32, int64, map, message, nested, repeated, string } from '../../../transport/grpc/message.ts'

// The parts of google.pubsub.v1 that the driver needs.

const PACKAGE = 'google.pubsub.v1.'

const PubsubMessage = message(`${PACKAGE}PubsubMessage`, {
  data: bytes(1),
  attributes: map(2),
  messageId: string(3),
  orderingKey: string(5),
})

/** Also what gives one by name. */
export const Topic = message(`${PACKAGE}Topic`, { name: string(1) })
export const GetTopicRequest = message(`${PACKAGE}GetTopicRequest`, { topic: string(1) })
export const ListTopicsRequest = message(`${PACKAGE}ListTopicsRequest`, { project: string(1), pageSize: int32(2) })
export const ListTopicsResponse = message(`${PACKAGE}ListTopicsResponse`, { topics: repeated(nested(1, Topic)) })

export const PublishRequest = message(`${PACKAGE}PublishRequest`, { topic: string(1), messages: repeated(nested(2, PubsubMessage)) })
export const PublishResponse = message(`${PACKAGE}PublishResponse`, { messageIds: repeated(string(1)) })

const DeadLetterPolicy = message(`${PACKAGE}DeadLetterPolicy`, { deadLetterTopic: string(1), maxDeliveryAttempts: int32(2) })
export const Subscription = message(`${PACKAGE}Subscription`, {
  name: string(1),
  topic: string(2),
  ackDeadlineSeconds: int32(5),
  enableMessageOrdering: bool(10),
  deadLetterPolicy: nested(13, DeadLetterPolicy),
})
export const GetSubscriptionRequest = message(`${PACKAGE}GetSubscriptionRequest`, { subscription: string(1) })

export const StreamingPullRequest = message(`${PACKAGE}StreamingPullRequest`, {
  subscription: string(1),
  streamAckDeadlineSeconds: int32(5),
  clientId: string(6),
  maxOutstandingMessages: int64(7),
  maxOutstandingBytes: int64(8),
})
const ReceivedMessage = message(`${PACKAGE}ReceivedMessage`, {
  ackId: string(1),
  message: nested(2, PubsubMessage),
  deliveryAttempt: int32(3),
})
export const StreamingPullResponse = message(`${PACKAGE}StreamingPullResponse`, { receivedMessages: repeated(nested(1, ReceivedMessage)) })

export const AcknowledgeRequest = message(`${PACKAGE}AcknowledgeRequest`, { subscription: string(1), ackIds: repeated(string(2)) })
export const ModifyAckDeadlineRequest = message(`${PACKAGE}ModifyAckDeadlineRequest`, {
  subscription: string(1),
  ackDeadlineSeconds: int32(3),
  ackIds: repeated(string(4)),
})
export const Empty = message('google.protobuf.Empty', {})

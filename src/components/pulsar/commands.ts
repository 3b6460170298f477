import {
  bool,
  bytes,
  enumeration,
  int32,
  int64,
  message,
  nested,
  optional,
  repeated,
  string,
  uint32,
  uint64,
} from '../../transport/grpc/message.ts'

// The parts of Pulsar's binary protocol (PulsarApi.proto, proto2) that a producer and a consumer need. Its required fields are
// `optional` here where we write them: a zero that is left out would be missing. What goes by with each message is in hot.ts.

const PACKAGE = 'pulsar.proto.'

/** CommandSubscribe.SubType. */
export const SubType = { exclusive: 0, shared: 1, failover: 2, key_shared: 3 } as const
const subType = { fullName: `${PACKAGE}SubType`, values: { 0: 'Exclusive', 1: 'Shared', 2: 'Failover', 3: 'Key_Shared' } }
const number = (name: string) => ({ fullName: PACKAGE + name, values: {} })

/** Schema.Type. */
export const SchemaType = { json: 2, proto: 3, avro: 4 } as const

const KeyValue = message(`${PACKAGE}KeyValue`, { key: optional(string(1)), value: optional(string(2)) })
export const Schema = message(`${PACKAGE}Schema`, {
  name: optional(string(1)),
  data: optional(bytes(3)),
  type: optional(enumeration(4, number('Schema.Type'))),
  properties: repeated(nested(5, KeyValue)),
})
const FeatureFlags = message(`${PACKAGE}FeatureFlags`, { authRefresh: bool(1) })
const AuthData = message(`${PACKAGE}AuthData`, { method: optional(string(1)), data: optional(bytes(2)) })

const Connect = message(`${PACKAGE}CommandConnect`, {
  clientVersion: optional(string(1)),
  authData: optional(bytes(3)),
  protocolVersion: int32(4),
  authMethod: optional(string(5)),
  proxyToBroker: string(6),
  features: nested(10, FeatureFlags),
})
const Connected = message(`${PACKAGE}CommandConnected`, { serverVersion: string(1), protocolVersion: int32(2), maxMessageSize: int32(3) })
const AuthChallenge = message(`${PACKAGE}CommandAuthChallenge`, { challenge: nested(2, AuthData) })
const AuthResponse = message(`${PACKAGE}CommandAuthResponse`, {
  clientVersion: optional(string(1)),
  response: nested(2, AuthData),
  protocolVersion: int32(3),
})

const KeyShared = message(`${PACKAGE}KeySharedMeta`, { mode: optional(enumeration(1, number('KeySharedMode'))) })
const Subscribe = message(`${PACKAGE}CommandSubscribe`, {
  topic: optional(string(1)),
  subscription: optional(string(2)),
  type: optional(enumeration(3, subType)),
  consumerId: optional(uint64(4)),
  requestId: optional(uint64(5)),
  name: string(6),
  durable: optional(bool(8)),
  schema: nested(12, Schema),
  initialPosition: optional(enumeration(13, number('InitialPosition'))),
  replicateState: optional(bool(14)),
  keyShared: nested(17, KeyShared),
})
const Producer = message(`${PACKAGE}CommandProducer`, {
  topic: optional(string(1)),
  producerId: optional(uint64(2)),
  requestId: optional(uint64(3)),
  name: string(4),
  schema: nested(7, Schema),
  epoch: uint64(8),
  namedByUser: optional(bool(9)),
})
const PartitionMetadata = message(`${PACKAGE}CommandPartitionedTopicMetadata`, {
  topic: optional(string(1)),
  requestId: optional(uint64(2)),
})
const PartitionMetadataResponse = message(`${PACKAGE}CommandPartitionedTopicMetadataResponse`, {
  partitions: uint32(1),
  requestId: uint64(2),
  response: enumeration(3, number('PartitionMetadataType')),
  error: int32(4),
  message: string(5),
})
const Lookup = message(`${PACKAGE}CommandLookupTopic`, {
  topic: optional(string(1)),
  requestId: optional(uint64(2)),
  authoritative: optional(bool(3)),
  listener: string(7),
})
/** CommandLookupTopicResponse.LookupType. */
export const LookupType = { redirect: 0, connect: 1, failed: 2 } as const
const LookupResponse = message(`${PACKAGE}CommandLookupTopicResponse`, {
  url: string(1),
  urlTls: string(2),
  response: enumeration(3, number('LookupType')),
  requestId: uint64(4),
  authoritative: bool(5),
  error: int32(6),
  message: string(7),
  throughProxy: bool(8),
})
const ById = (name: string) => message(PACKAGE + name, { id: optional(uint64(1)), requestId: optional(uint64(2)) })
const CloseProducer = ById('CommandCloseProducer')
const CloseConsumer = ById('CommandCloseConsumer')
const Unsubscribe = ById('CommandUnsubscribe')
const ProducerSuccess = message(`${PACKAGE}CommandProducerSuccess`, {
  requestId: uint64(1),
  name: string(2),
  lastSequenceId: optional(int64(3)),
  schemaVersion: optional(bytes(4)),
})
const Success = message(`${PACKAGE}CommandSuccess`, { requestId: uint64(1) })
const Failure = message(`${PACKAGE}CommandError`, { requestId: uint64(1), error: int32(2), message: string(3) })
const AckResponse = message(`${PACKAGE}CommandAckResponse`, {
  consumerId: uint64(1),
  error: optional(int32(4)),
  message: string(5),
  requestId: uint64(6),
})
const SendError = message(`${PACKAGE}CommandSendError`, {
  producerId: uint64(1),
  sequenceId: uint64(2),
  error: int32(3),
  message: string(4),
})
const ActiveChange = message(`${PACKAGE}CommandActiveConsumerChange`, { consumerId: uint64(1), active: bool(2) })

/** BaseCommand.Type. */
export const Type = {
  connect: 2,
  connected: 3,
  subscribe: 4,
  producer: 5,
  send: 6,
  receipt: 7,
  sendError: 8,
  message: 9,
  ack: 10,
  flow: 11,
  unsubscribe: 12,
  success: 13,
  error: 14,
  closeProducer: 15,
  closeConsumer: 16,
  producerSuccess: 17,
  ping: 18,
  pong: 19,
  redeliver: 20,
  partitions: 21,
  partitionsResponse: 22,
  lookup: 23,
  lookupResponse: 24,
  activeChange: 31,
  authChallenge: 36,
  authResponse: 37,
  ackResponse: 38,
} as const

const Empty = message(`${PACKAGE}CommandPing`, {})

/** A command: its type, and the one part that belongs to it. */
export const BaseCommand = message(`${PACKAGE}BaseCommand`, {
  type: optional(enumeration(1, number('BaseCommand.Type'))),
  connect: nested(2, Connect),
  connected: nested(3, Connected),
  subscribe: nested(4, Subscribe),
  producer: nested(5, Producer),
  sendError: nested(8, SendError),
  unsubscribe: nested(12, Unsubscribe),
  success: nested(13, Success),
  error: nested(14, Failure),
  closeProducer: nested(15, CloseProducer),
  closeConsumer: nested(16, CloseConsumer),
  producerSuccess: nested(17, ProducerSuccess),
  ping: nested(18, Empty),
  pong: nested(19, Empty),
  partitions: nested(21, PartitionMetadata),
  partitionsResponse: nested(22, PartitionMetadataResponse),
  lookup: nested(23, Lookup),
  lookupResponse: nested(24, LookupResponse),
  activeChange: nested(31, ActiveChange),
  authChallenge: nested(36, AuthChallenge),
  authResponse: nested(37, AuthResponse),
  ackResponse: nested(38, AckResponse),
})

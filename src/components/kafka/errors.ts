/** What a broker's error code asks the client to do. */
type Kind = 'retry' | 'stale' | 'coordinator' | 'rejoin' | 'fatal'

/** Codes of the protocol's error table that we meet: name, what to do, and what it means. */
const CODES: Readonly<Record<number, readonly [name: string, kind: Kind, meaning: string]>> = {
  1: ['OFFSET_OUT_OF_RANGE', 'fatal', 'the offset is not in the partition any more'],
  2: ['CORRUPT_MESSAGE', 'retry', 'the message arrived damaged'],
  3: ['UNKNOWN_TOPIC_OR_PARTITION', 'stale', 'the broker has no such topic or partition'],
  5: ['LEADER_NOT_AVAILABLE', 'stale', 'the partition has no leader yet'],
  6: ['NOT_LEADER_OR_FOLLOWER', 'stale', 'another broker leads the partition'],
  7: ['REQUEST_TIMED_OUT', 'retry', 'the request timed out at the broker'],
  8: ['BROKER_NOT_AVAILABLE', 'stale', 'the broker is not available'],
  9: ['REPLICA_NOT_AVAILABLE', 'stale', 'the replica is not available'],
  10: ['MESSAGE_TOO_LARGE', 'fatal', 'the message is larger than the broker takes (max.message.bytes of the topic)'],
  13: ['NETWORK_EXCEPTION', 'stale', 'the broker lost a connection'],
  14: ['COORDINATOR_LOAD_IN_PROGRESS', 'coordinator', 'the coordinator is still loading'],
  15: ['COORDINATOR_NOT_AVAILABLE', 'coordinator', 'the coordinator is not available'],
  16: ['NOT_COORDINATOR', 'coordinator', 'another broker coordinates the group'],
  17: ['INVALID_TOPIC_EXCEPTION', 'fatal', 'the name of the topic is not valid'],
  18: ['RECORD_LIST_TOO_LARGE', 'fatal', 'the batch is larger than the broker takes'],
  19: ['NOT_ENOUGH_REPLICAS', 'retry', 'too few replicas are in sync'],
  20: ['NOT_ENOUGH_REPLICAS_AFTER_APPEND', 'retry', 'too few replicas are in sync'],
  22: ['ILLEGAL_GENERATION', 'rejoin', 'the group has moved on to another generation'],
  23: ['INCONSISTENT_GROUP_PROTOCOL', 'fatal', 'the other members of the group use another consumerGroupRebalanceStrategy'],
  24: ['INVALID_GROUP_ID', 'fatal', 'the name of the group is not valid'],
  25: ['UNKNOWN_MEMBER_ID', 'rejoin', 'the group does not know this member any more'],
  26: ['INVALID_SESSION_TIMEOUT', 'fatal', 'the broker does not allow this sessionTimeout'],
  27: ['REBALANCE_IN_PROGRESS', 'rejoin', 'the group is sharing out its partitions anew'],
  29: ['TOPIC_AUTHORIZATION_FAILED', 'fatal', 'this user may not use the topic'],
  30: ['GROUP_AUTHORIZATION_FAILED', 'fatal', 'this user may not use the consumer group'],
  31: ['CLUSTER_AUTHORIZATION_FAILED', 'fatal', 'this user may not use the cluster'],
  33: ['UNSUPPORTED_SASL_MECHANISM', 'fatal', 'the broker does not offer this SASL mechanism'],
  34: ['ILLEGAL_SASL_STATE', 'fatal', 'the broker did not expect SASL on this port'],
  35: ['UNSUPPORTED_VERSION', 'fatal', 'the broker does not know this version of the request'],
  56: ['KAFKA_STORAGE_ERROR', 'stale', "the broker's disk has failed"],
  58: ['SASL_AUTHENTICATION_FAILED', 'fatal', 'the broker refuses user name or password'],
  74: ['FENCED_LEADER_EPOCH', 'stale', 'another broker leads the partition'],
  76: ['UNSUPPORTED_COMPRESSION_TYPE', 'fatal', 'the broker does not support this compression'],
  79: ['MEMBER_ID_REQUIRED', 'rejoin', 'the group wants the member id it gave'],
  81: ['GROUP_MAX_SIZE_REACHED', 'fatal', 'the group has as many members as it may'],
  87: ['INVALID_RECORD', 'fatal', 'the broker refuses the record (a compacted topic wants a key)'],
  89: ['THROTTLING_QUOTA_EXCEEDED', 'retry', 'a quota is used up'],
}

/** A broker answered with an error code. */
export class KafkaError extends Error {
  override readonly name = 'KafkaError'
  readonly code: number
  readonly kind: Kind

  constructor(code: number, detail = '') {
    const [name, kind, meaning] = CODES[code] ?? [`error ${code}`, 'retry', 'see the error codes of the Kafka protocol']
    super(`Kafka says ${name}: ${detail || meaning}`)
    this.code = code
    this.kind = kind
  }
}

/** No broker, or not this one, answers: worth another try. */
export class UnreachableError extends Error {
  override readonly name = 'UnreachableError'
  /** What to do about it, where starting the broker is not the answer. */
  next: string | undefined
}

/** The component is closing. */
export class ClosedError extends Error {
  override readonly name = 'ClosedError'
  constructor() {
    super('the Kafka component is closed')
  }
}

/** Whether another try may succeed without anybody changing anything. */
export function isPassing(error: unknown): boolean {
  return error instanceof UnreachableError || (error instanceof KafkaError && error.kind !== 'fatal')
}

/** Throws for every code but 0. */
export function check(code: number, detail?: string | null): void {
  if (code !== 0) throw new KafkaError(code, detail ?? '')
}

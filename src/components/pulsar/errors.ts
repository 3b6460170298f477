/** What the protocol's ServerError numbers ask the client to do. */
const CODES: Readonly<Record<number, readonly [name: string, passing: boolean]>> = {
  0: ['UnknownError', true],
  1: ['MetadataError', true],
  2: ['PersistenceError', true],
  3: ['AuthenticationError', false],
  4: ['AuthorizationError', false],
  5: ['ConsumerBusy', true],
  6: ['ServiceNotReady', true],
  7: ['ProducerBlockedQuotaExceededError', false],
  8: ['ProducerBlockedQuotaExceededException', false],
  9: ['ChecksumError', true],
  10: ['UnsupportedVersionError', false],
  11: ['TopicNotFound', false],
  12: ['SubscriptionNotFound', false],
  13: ['ConsumerNotFound', true],
  14: ['TooManyRequests', true],
  15: ['TopicTerminatedError', false],
  16: ['ProducerBusy', true],
  17: ['InvalidTopicName', false],
  18: ['IncompatibleSchema', false],
  19: ['ConsumerAssignError', true],
  22: ['NotAllowedError', false],
  25: ['ProducerFenced', false],
}

/** A broker answered with an error. */
export class PulsarError extends Error {
  override readonly name = 'PulsarError'
  readonly code: number
  /** Whether another try may succeed without anybody changing anything. */
  readonly passing: boolean

  constructor(code: number, detail: string) {
    const [name, passing] = CODES[code] ?? [`error ${code}`, true]
    super(`Pulsar says ${name}: ${(detail.split('\n')[0] as string) || 'without a word why'}`)
    this.code = code
    this.passing = passing
  }

  /** The backlog quota of the topic's namespace is used up. */
  get full(): boolean {
    return this.code === 7 || this.code === 8
  }
}

/** No broker, or not this one, answers: worth another try. */
export class UnreachableError extends Error {
  override readonly name = 'UnreachableError'
  /** What to do about it, where starting the broker is not the answer. */
  next: string | undefined
}

/** Whether another try may succeed without anybody changing anything. */
export function isPassing(error: unknown): boolean {
  return error instanceof UnreachableError || (error instanceof PulsarError && error.passing)
}

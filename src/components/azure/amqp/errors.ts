/** What a peer says instead of doing it. */
export class AmqpError extends Error {
  override readonly name = 'AmqpError'
  /** e.g. `amqp:not-found` or `com.microsoft:message-lock-lost`. */
  readonly condition: string
  /** Of an answer to a request, as HTTP's. */
  readonly status: number | undefined
  readonly info: Readonly<Record<string, unknown>>

  constructor(condition: string, message: string, info: Readonly<Record<string, unknown>> = {}, status?: number) {
    super(message)
    this.condition = condition
    this.info = info
    this.status = status
  }
}

/** Nobody answers, or the connection is lost: trying again later may help. */
export class UnreachableError extends Error {
  override readonly name = 'UnreachableError'
  /** What to do about it, where that is known. */
  next: string | undefined
}

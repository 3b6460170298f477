import { messageOf } from '../../../errors.ts'
import type { Logger } from '../../../telemetry/log.ts'
import type { RedisClient } from '../../redis/client.ts'

/** Ids kept while the server is away; what falls out is delivered once more, as at-least-once allows. */
const MAX_KEPT = 100_000

/** Acknowledges what ends in one turn of the event loop with one command, and again after a lost connection. */
export class Acknowledger {
  readonly #connection: RedisClient
  readonly #topic: string
  readonly #group: string
  readonly #log: Logger
  #ids: string[] = []
  #scheduled = false
  #sending: Promise<void> | undefined

  constructor(connection: RedisClient, topic: string, group: string, log: Logger) {
    this.#connection = connection
    this.#topic = topic
    this.#group = group
    this.#log = log
  }

  add(id: string): void {
    if (this.#ids.length < MAX_KEPT) this.#ids.push(id)
    this.retry()
  }

  retry(): void {
    if (this.#scheduled || this.#ids.length === 0) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      void this.#send()
    })
  }

  /** One last try to send all. */
  async flush(): Promise<void> {
    await this.#sending
    await this.#send()
  }

  #send(): Promise<void> {
    const ids = this.#ids.splice(0, 1000)
    if (ids.length === 0) return Promise.resolve()
    const sending = this.#connection.call('XACK', this.#topic, this.#group, ...ids).then(
      () => undefined,
      (error: unknown) => {
        this.#log.warn(`topic ${this.#topic}: cannot acknowledge ${ids.length} messages yet: ${messageOf(error)}`)
        this.#ids.unshift(...ids)
      },
    )
    this.#sending = Promise.all([this.#sending, sending]).then(() => undefined)
    // More than one command's worth goes on at the next turn.
    if (this.#ids.length > 0) this.retry()
    return sending
  }
}

import { messageOf } from '../../../errors.ts'
import type { Logger } from '../../../telemetry/log.ts'
import type { GoogleService } from '../../gcp/service.ts'
import { AcknowledgeRequest, Empty, ModifyAckDeadlineRequest } from './messages.ts'

/** Ids of one request, and milliseconds that the first of them waits for more. */
const BATCH = 1000
const GATHERING = 10

/** Tells Pub/Sub what became of messages, many at a time. What it refuses is told in the log; the message comes again. */
export class Settler implements AsyncDisposable {
  readonly #service: GoogleService
  readonly #subscription: string
  readonly #label: string
  readonly #log: Logger
  readonly #done: string[] = []
  /** By the seconds that a message stays with its holder: 0 gives it back now. */
  readonly #deadlines = new Map<number, string[]>()
  readonly #sending = new Set<Promise<void>>()
  #timer: NodeJS.Timeout | undefined

  constructor(service: GoogleService, subscription: string, label: string, log: Logger) {
    this.#service = service
    this.#subscription = subscription
    this.#label = label
    this.#log = log
  }

  done(ackId: string): void {
    this.#done.push(ackId)
    this.#later()
  }

  deadline(ackId: string, seconds: number): void {
    const list = this.#deadlines.get(seconds)
    if (list) list.push(ackId)
    else this.#deadlines.set(seconds, [ackId])
    this.#later()
  }

  /** Resolves when Pub/Sub was told, or could not be. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#flush()
    while (this.#sending.size > 0) await Promise.all(this.#sending)
  }

  #later(): void {
    this.#timer ??= setTimeout(() => this.#flush(), GATHERING)
  }

  #flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const subscription = this.#subscription
    const send = (list: string[], one: (ackIds: string[], signal: AbortSignal) => Promise<unknown>) => {
      while (list.length > 0) {
        const ackIds = list.splice(0, BATCH)
        const sending = one(ackIds, AbortSignal.timeout(20_000))
          .then(
            () => {},
            (error: unknown) => this.#log.warn(`${this.#label}: ${ackIds.length} messages may come again: ${messageOf(error)}`),
          )
          .finally(() => this.#sending.delete(sending))
        this.#sending.add(sending)
      }
    }
    const route = `subscription=${subscription}`
    send(this.#done, (ackIds, signal) =>
      this.#service.call('Subscriber/Acknowledge', route, AcknowledgeRequest, Empty, { subscription, ackIds }, signal),
    )
    for (const [ackDeadlineSeconds, list] of this.#deadlines)
      send(list, (ackIds, signal) => {
        const request = { subscription, ackIds, ackDeadlineSeconds }
        return this.#service.call('Subscriber/ModifyAckDeadline', route, ModifyAckDeadlineRequest, Empty, request, signal)
      })
    this.#deadlines.clear()
  }
}

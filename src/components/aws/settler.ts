import { messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import type { AwsClient } from './client.ts'

export interface Receipt {
  id: string
  receipt: string
}

interface Entry extends Receipt {
  /** Seconds that it stays hidden; undefined: SQS forgets it. */
  seconds?: number
  resolve(): void
}

/** Entries of one request of SQS, and milliseconds that the first of them waits for more. */
const BATCH = 10
const GATHERING = 5

/** Tells SQS what became of messages, ten at a time: AWS is paid by the request. What it refuses is told in the log; the message comes again. */
export class Settler implements AsyncDisposable {
  readonly #client: AwsClient
  readonly #url: () => string
  readonly #label: string
  readonly #log: Logger
  readonly #removals: Entry[] = []
  readonly #changes: Entry[] = []
  readonly #sending = new Set<Promise<void>>()
  #timer: NodeJS.Timeout | undefined

  constructor(client: AwsClient, url: () => string, label: string, log: Logger) {
    this.#client = client
    this.#url = url
    this.#label = label
    this.#log = log
  }

  /** Resolves when SQS was told, or could not be. */
  remove(receipt: Receipt): Promise<void> {
    return this.#add(this.#removals, receipt)
  }

  hide(receipt: Receipt, seconds: number): Promise<void> {
    return this.#add(this.#changes, receipt, seconds)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#flush()
    while (this.#sending.size > 0) await Promise.all(this.#sending)
  }

  #add(list: Entry[], { id, receipt }: Receipt, seconds?: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    list.push({ id, receipt, resolve, ...(seconds !== undefined && { seconds }) })
    if (list.length >= BATCH) this.#send(list)
    else this.#timer ??= setTimeout(() => this.#flush(), GATHERING)
    return promise
  }

  #flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    for (const list of [this.#removals, this.#changes]) while (list.length > 0) this.#send(list)
  }

  #send(list: Entry[]): void {
    const entries = list.splice(0, BATCH)
    const sending = (
      list === this.#removals ? this.#request('DeleteMessageBatch', entries) : this.#request('ChangeMessageVisibilityBatch', entries)
    )
      .catch((error: unknown) => {
        this.#log.warn(`${this.#label}: ${entries.length} messages may come again: ${messageOf(error)}`)
      })
      .finally(() => {
        this.#sending.delete(sending)
        for (const { resolve } of entries) resolve()
      })
    this.#sending.add(sending)
  }

  async #request(operation: 'DeleteMessageBatch' | 'ChangeMessageVisibilityBatch', entries: readonly Entry[]): Promise<void> {
    const Entries = entries.map(({ receipt, seconds }, index) => ({
      Id: String(index),
      ReceiptHandle: receipt,
      ...(seconds !== undefined && { VisibilityTimeout: seconds }),
    }))
    const reply = await this.#client.json(operation, { QueueUrl: this.#url(), Entries }, AbortSignal.timeout(20_000))
    for (const { Id, Code, Message } of (reply.Failed ?? []) as { Id: string; Code: string; Message?: string }[])
      this.#log.warn(`${this.#label}: message ${entries[Number(Id)]?.id} may come again: ${Code} ${Message ?? ''}`)
  }
}

import type { Binding, BindingEvent, BindingRequest } from '../../../blocks/bindings/driver.ts'
import { messageOf } from '../../../errors.ts'
import type { AwsClient } from '../../aws/client.ts'
import { type Account, openAccount } from '../../aws/open.ts'
import { type Held, QueueReader } from '../../aws/queue-reader.ts'
import { SQS } from '../../aws/services.ts'
import { accountFields, endpointField, readAccount } from '../../aws/settings.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { type MetadataField, parseMetadata } from '../../metadata.ts'

const fields: readonly MetadataField[] = [
  { name: 'queueName', kind: 'string', required: true, description: 'Queue to send to and to read from; it is not created.' },
  ...accountFields,
  endpointField,
  {
    name: 'redeliverInterval',
    kind: 'duration',
    unit: 1,
    default: '30s',
    min: 0,
    description:
      'Longest wait before a message that was not handled comes again, in whole seconds; waits grow from 1 s. A bare number is milliseconds. Ours, not in Dapr.',
  },
  {
    name: 'drainTimeout',
    kind: 'duration',
    unit: 1,
    default: '5s',
    min: 0,
    description: 'How long the running handler may take to finish when reading ends. Ours, not in Dapr.',
  },
]

/** Seconds of a poll: what stopping may have to wait for; and that a message is hidden from others, renewed while it is handled. */
const WAIT = 3
const VISIBILITY = 30

/** One queue: `create` sends to it, reading feeds the app with one message after the other. */
class SqsBinding implements Binding {
  readonly operations = ['create']
  readonly #context: ComponentContext
  readonly #queue: string
  readonly #redeliverInterval: number
  readonly #drainTimeout: number
  readonly #account: Account
  readonly #client: AwsClient
  readonly #readers = new Set<Reader>()
  #url: Promise<string> | undefined

  constructor(context: ComponentContext) {
    this.#context = context
    const values = parseMetadata(fields, context.properties)
    this.#queue = String(values.queueName)
    this.#redeliverInterval = Number(values.redeliverInterval)
    this.#drainTimeout = Number(values.drainTimeout)
    this.#account = openAccount(readAccount(values, context.properties))
    this.#client = this.#account.client(SQS)
  }

  async init(signal: AbortSignal): Promise<void> {
    await this.#find(signal)
  }

  async ping(signal: AbortSignal): Promise<void> {
    await this.#find(signal)
  }

  async #find(signal?: AbortSignal): Promise<string> {
    return String((await this.#client.json('GetQueueUrl', { QueueName: this.#queue }, signal)).QueueUrl)
  }

  async invoke({ data }: BindingRequest, signal?: AbortSignal): Promise<undefined> {
    this.#url ??= this.#find()
    const url = this.#url
    const failed = (error: unknown) => {
      if (this.#url === url) this.#url = undefined
      throw error
    }
    const QueueUrl = await url.catch(failed)
    await this.#client.json('SendMessage', { QueueUrl, MessageBody: data.toString() }, signal).catch(failed)
  }

  async read(handler: (event: BindingEvent) => Promise<Buffer | undefined>): Promise<AsyncDisposable> {
    const label = `binding ${this.#context.name}: queue ${this.#queue}`
    const { log } = this.#context
    const settings = { url: (signal: AbortSignal) => this.#find(signal), wait: WAIT, most: 10, visibility: VISIBILITY, label, log }
    const queue = new QueueReader(this.#client, settings, (held) => reader.offer(held))
    const reader = new Reader(queue, handler, this.#redeliverInterval, this.#drainTimeout, (held, error) =>
      log.warn(`${label}: message ${held.id} not handled (delivery ${held.received}): ${messageOf(error)}`),
    )
    this.#readers.add(reader)
    queue.start()
    return {
      [Symbol.asyncDispose]: async () => {
        await reader[Symbol.asyncDispose]()
        this.#readers.delete(reader)
      },
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#readers].map((reader) => reader[Symbol.asyncDispose]()))
    await this.#account[Symbol.asyncDispose]()
  }
}

/** Handles one message after the other. */
class Reader implements AsyncDisposable {
  readonly #queue: QueueReader
  readonly #handler: (event: BindingEvent) => Promise<unknown>
  readonly #longest: number
  readonly #drainTimeout: number
  readonly #failed: (held: Held, error: unknown) => void
  readonly #waiting: Held[] = []
  #working: Promise<void> | undefined
  #ended: Promise<void> | undefined

  constructor(
    queue: QueueReader,
    handler: (event: BindingEvent) => Promise<unknown>,
    longest: number,
    drainTimeout: number,
    failed: (held: Held, error: unknown) => void,
  ) {
    this.#queue = queue
    this.#handler = handler
    this.#longest = longest
    this.#drainTimeout = drainTimeout
    this.#failed = failed
  }

  offer(held: Held): void {
    this.#waiting.push(held)
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined
    })
  }

  async #work(): Promise<void> {
    for (let held = this.#waiting.shift(); held; held = this.#waiting.shift()) {
      try {
        await this.#handler({ data: Buffer.from(held.body), metadata: {} })
        this.#queue.done(held)
      } catch (error) {
        this.#failed(held, error)
        const wait = Math.min(this.#longest, 1000 * 2 ** Math.min(held.received - 1, 30))
        this.#queue.later(held, this.#ended ? 0 : Math.round(wait / 1000))
      }
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#ended ??= this.#end()
    return this.#ended
  }

  async #end(): Promise<void> {
    this.#queue.stop()
    for (const held of this.#waiting.splice(0)) this.#queue.later(held, 0)
    const { promise, resolve } = Promise.withResolvers<void>()
    const patience = setTimeout(resolve, this.#drainTimeout)
    await Promise.race([this.#working, promise])
    clearTimeout(patience)
    // What is still handled comes again when it has been hidden long enough.
    await this.#queue[Symbol.asyncDispose]()
  }
}

/** bindings.aws.sqs */
export const driver: DriverModule<Binding> = {
  summary: 'Sends to a queue of AWS SQS and feeds the app from it.',
  metadata: fields,
  create: (context) => new SqsBinding(context),
}

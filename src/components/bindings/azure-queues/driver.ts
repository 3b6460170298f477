import { setTimeout as pause } from 'node:timers/promises'
import type { Binding, BindingEvent, BindingRequest } from '../../../blocks/bindings/driver.ts'
import { messageOf } from '../../../errors.ts'
import { allIn, escaped, parseXml, textIn, type XmlElement } from '../../aws/xml.ts'
import { StorageClient } from '../../azure/storage-client.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { ttlOf } from '../../given-ttl.ts'
import { parseDuration } from '../../metadata.ts'
import { unquoted } from '../unquoted.ts'
import { fields, type QueueSettings, readQueueSettings } from './settings.ts'

type Handler = (event: BindingEvent) => Promise<unknown>

/** Milliseconds before a queue that could not be read is asked again. */
const AGAIN = 1000

/** One queue: `create` sends to it, reading feeds the app with one message after the other. */
class QueueBinding implements Binding {
  readonly operations = ['create']
  readonly #context: ComponentContext
  readonly #settings: QueueSettings
  readonly #client: StorageClient
  readonly #readers = new Set<AsyncDisposable>()

  constructor(context: ComponentContext) {
    this.#context = context
    this.#settings = readQueueSettings(context.properties)
    this.#client = new StorageClient(this.#settings)
  }

  async init(signal: AbortSignal): Promise<void> {
    await this.#client.send({ method: 'PUT' }, signal)
  }

  async ping(signal: AbortSignal): Promise<void> {
    await this.#client.send({ method: 'GET', query: [['comp', 'metadata']] }, signal)
  }

  async invoke({ data, metadata }: BindingRequest, signal?: AbortSignal): Promise<undefined> {
    const { encode } = this.#settings
    const ttl = ttlOf(metadata) ?? this.#settings.ttl
    const delay = delayOf(metadata.initialVisibilityDelay) ?? this.#settings.delay
    const content = unquoted(data)
    const text = encode ? content.toString('base64') : content.toString()
    const query: [string, string][] = [['messagettl', seconds(ttl)]]
    if (delay !== undefined) query.push(['visibilitytimeout', seconds(delay)])
    const body = Buffer.from(`<QueueMessage><MessageText>${escaped(text)}</MessageText></QueueMessage>`)
    await this.#client.send({ method: 'POST', blob: 'messages', query, headers: { 'content-type': 'application/xml' }, body }, signal)
  }

  async read(handler: Handler): Promise<AsyncDisposable> {
    const stop = new AbortController()
    const done = this.#loop(handler, stop.signal)
    const reader = {
      [Symbol.asyncDispose]: async () => {
        stop.abort()
        await done
        this.#readers.delete(reader)
      },
    }
    this.#readers.add(reader)
    return reader
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#readers].map((reader) => reader[Symbol.asyncDispose]()))
    await this.#client[Symbol.asyncDispose]()
  }

  async #loop(handler: Handler, signal: AbortSignal): Promise<void> {
    const { name } = this.#settings
    while (!signal.aborted) {
      try {
        if (!(await this.#next(handler, signal))) await pause(this.#settings.pause, undefined, { signal })
      } catch (error) {
        if (signal.aborted) return
        this.#context.log.error(`binding ${this.#context.name}: queue ${name}: ${messageOf(error)}`)
        await pause(AGAIN, undefined, { signal }).catch(() => {})
      }
    }
  }

  /** Whether there was a message. One that was not handled comes again when it has been hidden long enough. */
  async #next(handler: Handler, signal: AbortSignal): Promise<boolean> {
    const query = [
      ['numofmessages', '1'],
      ['visibilitytimeout', seconds(this.#settings.visibility)],
    ] as const
    // Not ended by the signal: a message that is on its way would stay hidden.
    const { body } = await this.#client.send({ method: 'GET', blob: 'messages', query })
    const [message] = allIn(parseXml(body.toString()), 'QueueMessage')
    if (!message) return false
    const id = textIn(message, 'MessageId') ?? ''
    const receipt = textIn(message, 'PopReceipt') ?? ''
    const path = `messages/${id}`
    if (signal.aborted) {
      const now = [
        ['popreceipt', receipt],
        ['visibilitytimeout', '0'],
      ] as const
      await this.#client.send({ method: 'PUT', blob: path, query: now })
      return true
    }
    const text = textIn(message, 'MessageText') ?? ''
    try {
      await handler({ data: this.#settings.decode ? decoded(text) : Buffer.from(text), metadata: metadataOf(message) })
    } catch (error) {
      const count = textIn(message, 'DequeueCount')
      throw new Error(`message ${id} not handled (delivery ${count}): ${messageOf(error)}`, { cause: error })
    }
    await this.#client.send({ method: 'DELETE', blob: path, query: [['popreceipt', receipt]] })
    return true
  }
}

/** What the app is told of a message, by daprd's names. */
function metadataOf(message: XmlElement): Record<string, string> {
  const time = (name: string) => new Date(textIn(message, name) ?? '').toISOString().replace('.000Z', 'Z')
  return {
    messageID: textIn(message, 'MessageId') ?? '',
    popReceipt: textIn(message, 'PopReceipt') ?? '',
    insertionTime: time('InsertionTime'),
    expirationTime: time('ExpirationTime'),
    nextVisibleTime: time('TimeNextVisible'),
    dequeueCount: textIn(message, 'DequeueCount') ?? '',
  }
}

function decoded(text: string): Buffer {
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) throw new Error('illegal base64 data: the message is no Base64')
  return Buffer.from(text, 'base64')
}

function delayOf(text: string | undefined): number | undefined {
  if (!text) return undefined
  const delay = /^\s*[-+\d.]+\s*$/.test(text) ? undefined : parseDuration(text)
  if (delay === undefined) throw new Error(`invalid value for initialVisibilityDelay: "${text}" is no duration; write it as 30s`)
  return delay
}

function seconds(milliseconds: number): string {
  return String(Math.trunc(milliseconds / 1000))
}

/** bindings.azure.storagequeues */
export const driver: DriverModule<Binding> = {
  summary: 'Sends to a queue of Azure Queue Storage and feeds the app from it.',
  metadata: fields,
  create: (context) => new QueueBinding(context),
}

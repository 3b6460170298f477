import { randomUUID } from 'node:crypto'
import { resolve } from 'node:path'
import type { BulkEntry, MessageHandler, PublishRequest, PubSub, PubSubFeature, SubscribeOptions } from '../../../blocks/pubsub/driver.ts'
import { type Database, openSqlite } from '../../../storage/sqlite.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { MetadataError, type MetadataField, parseDuration, parseMetadata } from '../../metadata.ts'
import { checkWritable, sqliteRefusal } from '../../sqlite-refusal.ts'
import { handlersFor } from '../running.ts'
import { Consumer } from './consumer.ts'
import { Doorbell } from './doorbell.ts'
import { Membership } from './membership.ts'
import { Retention } from './retention.ts'
import { prepareSchema, prepareStatements, type Statements } from './schema.ts'
import { Writer } from './writer.ts'

const metadata: readonly MetadataField[] = [
  {
    name: 'connectionString',
    aliases: ['url'],
    kind: 'string',
    required: true,
    description: 'Path of the SQLite file that all sidecars of the machine share.',
  },
  {
    name: 'consumerID',
    kind: 'string',
    description: 'Consumer group; members of a group share its messages, every group gets all. Default: the app id.',
  },
  {
    name: 'concurrency',
    kind: 'int',
    default: '10',
    min: 1,
    max: 10_000,
    description:
      'Handlers that may run at once per topic; 1 keeps the order strictly, also over a rejected message, and bulk subscriptions get their messages one by one. Else those of a bulk subscription are at least twice its maxMessagesCount.',
  },
  {
    name: 'initialOffset',
    kind: 'enum',
    values: ['oldest', 'newest'],
    default: 'oldest',
    description: 'Where a new group begins: with the oldest message kept, or with the next one.',
  },
  {
    name: 'redeliverInterval',
    kind: 'duration',
    default: '500ms',
    description: 'Wait before a rejected message comes again; doubles each time.',
  },
  { name: 'maxRedeliverInterval', kind: 'duration', default: '60s', description: 'Longest wait between two tries.' },
  {
    name: 'maxDeliver',
    kind: 'int',
    default: '0',
    min: 0,
    description: 'Tries after which a message is given up with an error in the log; 0 never gives up.',
  },
  {
    name: 'leaseTimeout',
    kind: 'duration',
    default: '30s',
    description: 'Silence after which a consumer counts as gone although its process cannot be seen to have ended.',
  },
  {
    name: 'retentionAge',
    kind: 'duration',
    default: '168h',
    description: 'Age at which a message is removed even if a group has not handled it.',
  },
  {
    name: 'retentionSize',
    kind: 'int',
    default: '1073741824',
    min: 1,
    description: 'Bytes per topic above which the oldest messages are removed even if a group has not handled them.',
  },
  {
    name: 'synchronous',
    kind: 'enum',
    values: ['normal', 'full'],
    default: 'normal',
    description: 'normal survives the end of any process; full also survives a power cut, at the price of a disk flush per commit.',
  },
  {
    name: 'drainTimeout',
    kind: 'duration',
    default: '5s',
    description: 'How long running handlers may take to finish when a subscription ends.',
  },
]

interface Open {
  database: Database
  statements: Statements
  writer: Writer
  bell: Doorbell | undefined
  membership: Membership
  retention: Retention
}

/** The embedded durable broker: one SQLite file, any number of processes on one machine, nothing to start. */
class SqlitePubSub implements PubSub {
  readonly features: readonly PubSubFeature[] = ['MESSAGE_TTL', 'BULK_PUBSUB']
  readonly #context: ComponentContext
  readonly #settings: ReturnType<typeof parseMetadata>
  readonly #id = randomUUID()
  readonly #consumers = new Set<Consumer>()
  readonly #owner: string
  readonly #path: string
  #open: Open | undefined

  constructor(context: ComponentContext) {
    this.#context = context
    this.#owner = `pub/sub component ${context.name}`
    this.#settings = parseMetadata(metadata, context.properties)
    this.#path = (this.#settings.connectionString as string).replace(/^file:(\/\/)?/, '').replace(/\?.*$/, '')
  }

  async init(): Promise<void> {
    if (this.#open !== undefined) return
    const path = this.#path
    const database = openSqlite(path)
    try {
      if (this.#settings.synchronous === 'full') database.exec('PRAGMA synchronous = FULL')
      prepareSchema(database)
      // From here on a held lock is waited for by the writer, which leaves the event loop free.
      database.exec('PRAGMA busy_timeout = 0')
      const statements = prepareStatements(database)
      const bell = path === ':memory:' ? undefined : new Doorbell(`${resolve(path)}-bell`, () => this.#onRing())
      const log = this.#context.log
      const writer = new Writer({
        database,
        log,
        explain: (error) => sqliteRefusal(this.#owner, this.#path, error),
        extra: () => this.#take(),
        wanted: () => [...this.#consumers].some((consumer) => consumer.wants()),
        ring: () => {
          bell?.ring()
          this.#wakeAll()
        },
      })
      const membership = new Membership({
        id: this.#id,
        leaseTimeout: this.#settings.leaseTimeout as number,
        statements,
        writer,
        onTick: () => bell?.check(),
      })
      const retention = new Retention(
        { age: this.#settings.retentionAge as number, size: this.#settings.retentionSize as number },
        { statements, writer, log },
      )
      this.#open = { database, statements, writer, bell, membership, retention }
    } catch (error) {
      database.close()
      throw error
    }
  }

  async ping(): Promise<void> {
    await checkWritable(this.#owner, this.#path, () => this.#opened().database)
  }

  async publish(request: PublishRequest, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    const { writer } = this.#opened()
    await writer.write(this.#insert(request.topic, request.data, request.contentType, request.metadata), true)
  }

  async bulkPublish(
    topic: string,
    entries: readonly BulkEntry[],
    extra: Readonly<Record<string, string>>,
    signal?: AbortSignal,
  ): Promise<{ entryId: string; error: Error }[]> {
    signal?.throwIfAborted()
    const { writer } = this.#opened()
    const results = await Promise.allSettled(
      entries.map(async (entry) => writer.write(this.#insert(topic, entry.data, entry.contentType, { ...extra, ...entry.metadata }), true)),
    )
    return results.flatMap((result, index) =>
      result.status === 'rejected' ? [{ entryId: (entries[index] as BulkEntry).entryId, error: result.reason as Error }] : [],
    )
  }

  #insert(topic: string, data: Buffer, contentType: string | undefined, given: Readonly<Record<string, string>>): () => void {
    const { statements, retention } = this.#opened()
    const ttl = ttlOf(given)
    const text = JSON.stringify(given)
    return () => {
      const now = Date.now()
      statements.insertMessage.run(topic, data, contentType ?? null, text, now, ttl === undefined ? null : now + ttl)
      statements.addBytes.run(topic, data.length + text.length)
      retention.touch(topic)
    }
  }

  async subscribe(
    topic: string,
    _metadata: Readonly<Record<string, string>>,
    handler: MessageHandler,
    { batch }: SubscribeOptions = {},
  ): Promise<AsyncDisposable> {
    const { statements, writer, bell, membership, retention } = this.#opened()
    const group = (this.#settings.consumerID as string | undefined) ?? this.#context.appId
    bell?.listen()
    await membership.join()
    await writer.write(() => {
      const start = this.#settings.initialOffset === 'newest' ? (statements.lastId.get(topic) as { id: number }).id : 0
      statements.createGroup.run(topic, group, start)
      statements.addBytes.run(topic, 0)
    })
    const handlers = handlersFor(this.#settings.concurrency as number, batch)
    const settings = {
      topic,
      group,
      owner: this.#id,
      concurrency: handlers,
      redeliverInterval: this.#settings.redeliverInterval as number,
      maxRedeliverInterval: this.#settings.maxRedeliverInterval as number,
      maxDeliver: this.#settings.maxDeliver as number,
      drainTimeout: this.#settings.drainTimeout as number,
    }
    const consumer = new Consumer(settings, handler, {
      statements,
      writer,
      log: this.#context.log,
      onSettled: () => retention.touch(topic),
      onEnd: (ended) => this.#consumers.delete(ended),
    })
    this.#consumers.add(consumer)
    consumer.wake()
    return consumer
  }

  #take(): () => void {
    const starts: (() => void)[] = []
    for (const consumer of this.#consumers) {
      const start = consumer.take()
      if (start !== undefined) starts.push(start)
    }
    return () => {
      for (const start of starts) start()
      // A consumer that filled its handlers, or found nothing more, looks once again without the lock.
      if (starts.length > 0) this.#open?.writer.schedule()
    }
  }

  #onRing(): void {
    this.#open?.membership.notice()
    this.#wakeAll()
  }

  #wakeAll(): void {
    for (const consumer of this.#consumers) consumer.wake()
  }

  #opened(): Open {
    if (this.#open === undefined) throw new Error(`${this.#owner} is not open`)
    return this.#open
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const open = this.#open
    if (open === undefined) return
    await Promise.all([...this.#consumers].map((consumer) => consumer[Symbol.asyncDispose]()))
    await open.membership.leave().catch((error: Error) => this.#context.log.warn(`${this.#context.name}: ${error.message}`))
    await open.writer.flushed()
    this.#open = undefined
    open.retention.stop()
    open.writer.close()
    open.bell?.[Symbol.dispose]()
    open.database.close()
  }
}

/** Milliseconds from `ttlInSeconds` or `ttl` (seconds or a duration, any case); undefined when absent. */
function ttlOf(given: Readonly<Record<string, string>>): number | undefined {
  for (const name in given) {
    const lower = name.toLowerCase()
    if (lower !== 'ttlinseconds' && lower !== 'ttl') continue
    const text = given[name] as string
    if (text === '') continue
    const parsed = parseDuration(text)
    if (parsed === undefined || (parsed <= 0 && /^[+-]?\d+$/.test(text.trim())))
      throw new MetadataError(`metadata field ${name}: "${text}" is not a number of seconds above 0 or a duration`)
    return Math.max(parsed, 0)
  }
  return undefined
}

export const driver: DriverModule<PubSub> = {
  summary: 'Embedded durable broker on one SQLite file, shared by the sidecars of one machine.',
  metadata,
  create: (context) => new SqlitePubSub(context),
}

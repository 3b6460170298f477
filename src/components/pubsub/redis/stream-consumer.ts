import type { DeliveredMessage, MessageHandler } from '../../../blocks/pubsub/driver.ts'
import { messageOf } from '../../../errors.ts'
import type { Logger } from '../../../telemetry/log.ts'
import { type RedisClient, redisScript } from '../../redis/client.ts'
import { backoff, call, Running } from '../running.ts'
import { Acknowledger } from './acknowledger.ts'
import { type Leases, leftName } from './leases.ts'
import { type Entry, StreamReader } from './stream-reader.ts'

export interface StreamSettings {
  topic: string
  group: string
  name: string
  concurrency: number
  queueDepth: number
  processingTimeout: number
  redeliverInterval: number
  drainTimeout: number
}

interface Held {
  id: string
  fields: Buffer[]
  attempt: number
}

const FIRST_BACKOFF = 500
/** Longest wait before a rejected message comes again when redeliverInterval is 0. */
const MAX_BACKOFF = 15_000

/**
 * One topic on its own blocking connection. A message is read (pending at the server under our name), waits in
 * memory, runs, and is acknowledged; after a rejection only its id rests here until its backoff is over, and it is
 * claimed again with its content, unless another consumer has it by then.
 */
export class StreamConsumer implements AsyncDisposable {
  readonly #settings: StreamSettings
  readonly #handler: MessageHandler
  readonly #commands: RedisClient
  readonly #reader: RedisClient
  readonly #leases: Leases
  readonly #log: Logger
  readonly #onEnd: () => void
  readonly #acknowledger: Acknowledger
  readonly #running = new Running()
  readonly #ending = new AbortController()
  /** Every message that is ours: waiting, running or resting. */
  readonly #ours = new Set<string>()
  readonly #timers = new Set<NodeJS.Timeout>()
  #waiting: Held[] = []
  #reading: StreamReader | undefined
  #recovering = false
  #lookedForIdle = 0
  #ended: Promise<void> | undefined

  constructor(
    settings: StreamSettings,
    handler: MessageHandler,
    parts: { commands: RedisClient; reader: RedisClient; leases: Leases; log: Logger; onEnd: (consumer: StreamConsumer) => void },
  ) {
    this.#settings = settings
    this.#handler = handler
    this.#commands = parts.commands
    this.#reader = parts.reader
    this.#leases = parts.leases
    this.#log = parts.log
    this.#onEnd = () => parts.onEnd(this)
    this.#acknowledger = new Acknowledger(parts.commands, settings.topic, settings.group, parts.log)
  }

  get topic(): string {
    return this.#settings.topic
  }

  /** Makes the group, takes over from consumers that are gone, starts reading. */
  async start(): Promise<void> {
    await this.#createGroup()
    await this.recover()
    const { topic, group, name } = this.#settings
    this.#reading = new StreamReader({
      ...{ topic, group, name, reader: this.#reader, commands: this.#commands, log: this.#log },
      room: () => this.#free(),
      accept: (entries) => this.#accept(entries, 1),
      createGroup: () => this.#createGroup(),
    })
  }

  /** The reading connection stands again. */
  connected(): void {
    this.#reading?.connected()
  }

  /** The server is there: the reading connection need not wait longer for it. */
  hurry(): void {
    this.#reader.hurry()
  }

  async #createGroup(): Promise<void> {
    try {
      await this.#commands.call('XGROUP', 'CREATE', this.#settings.topic, this.#settings.group, '0', 'MKSTREAM')
    } catch (error) {
      if (!messageOf(error).startsWith('BUSYGROUP')) throw error
    }
  }

  /** Twice the handlers are enough to keep them busy; the rest stays for other members of the group. */
  #free(): number {
    const { queueDepth, concurrency } = this.#settings
    if (this.#ours.size >= queueDepth * 10) return 0
    return Math.min(queueDepth, concurrency * 2) - this.#waiting.length - this.#running.size
  }

  #accept(entries: readonly (Entry | null)[], attempt: number): void {
    for (const entry of entries) {
      if (entry === null) continue
      const id = entry[0].toString('latin1')
      if (entry[1] === null) this.#acknowledger.add(id)
      else if (!this.#ours.has(id) || attempt > 1) {
        this.#ours.add(id)
        this.#waiting.push({ id, fields: entry[1], attempt })
      }
    }
    this.#pump()
  }

  #pump(): void {
    while (this.#running.size < this.#settings.concurrency && !this.#ending.signal.aborted) {
      const held = this.#waiting.shift()
      if (held === undefined) break
      this.#running.start(async () => {
        await this.#deliver(held)
        setImmediate(() => this.#pump())
      })
    }
    this.#reading?.roomy()
  }

  async #deliver(held: Held): Promise<void> {
    const { topic, redeliverInterval } = this.#settings
    try {
      await call(this.#handler, messageOfFields(topic, held.fields), this.#running.signal)
      this.#ours.delete(held.id)
      this.#acknowledger.add(held.id)
    } catch (error) {
      if (this.#ending.signal.aborted) return
      const delay = backoff(held.attempt, FIRST_BACKOFF, Math.max(redeliverInterval || MAX_BACKOFF, 1))
      this.#log.warn(`topic ${topic}: message ${held.id} not handled (try ${held.attempt}), again in ${delay} ms: ${messageOf(error)}`)
      this.#rest(held.id, held.attempt, delay)
    }
  }

  #rest(id: string, attempt: number, delay: number): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      void this.#reclaim(id, attempt, delay)
    }, delay)
    this.#timers.add(timer)
  }

  async #reclaim(id: string, attempt: number, delay: number): Promise<void> {
    const { topic, group, name } = this.#settings
    try {
      // Somebody who took it meanwhile has made it young: then it is theirs.
      const reply = (await this.#commands.callBuffer('XCLAIM', topic, group, name, String(Math.floor(delay / 2)), id)) as (Entry | null)[]
      if (this.#ending.signal.aborted) return
      if (reply.length === 0 || reply[0] === null) {
        this.#ours.delete(id)
        if (reply[0] === null) this.#acknowledger.add(id)
      } else this.#accept(reply, attempt + 1)
    } catch (error) {
      if (this.#ending.signal.aborted) return
      this.#log.warn(`topic ${topic}: cannot claim message ${id}: ${messageOf(error)}`)
      this.#rest(id, attempt, Math.max(delay, 1000))
    }
  }

  /** Takes what consumers that are gone left, and, every redeliverInterval, what was pending longer than processingTimeout. */
  async recover(): Promise<void> {
    if (this.#recovering || this.#ending.signal.aborted) return
    this.#recovering = true
    const { topic, group, name, processingTimeout, redeliverInterval } = this.#settings
    try {
      this.#acknowledger.retry()
      const summary = (await this.#commands.call('XPENDING', topic, group)) as [number, string, string, [string, string][] | null]
      for (const [consumer] of summary[3] ?? []) {
        if (consumer !== name && (await this.#leases.isGone(consumer))) await this.#takeOver(consumer, 0)
      }
      const looks = processingTimeout > 0 && redeliverInterval > 0
      if (looks && Date.now() - this.#lookedForIdle >= redeliverInterval) {
        this.#lookedForIdle = Date.now()
        await this.#takeOver(undefined, processingTimeout)
      }
    } catch (error) {
      if (!messageOf(error).startsWith('NOGROUP')) throw error
    } finally {
      this.#recovering = false
    }
  }

  /** Claims a page at a time, as much as there is room for; the rest at the next beat. */
  async #takeOver(consumer: string | undefined, idle: number): Promise<void> {
    const { topic, group, name, queueDepth } = this.#settings
    let start = '-'
    while (!this.#ending.signal.aborted) {
      const room = queueDepth - this.#waiting.length
      if (room <= 0) return
      const range = ['IDLE', String(Math.floor(idle)), start, '+', String(room), ...(consumer === undefined ? [] : [consumer])]
      const pending = (await this.#commands.call('XPENDING', topic, group, ...range)) as [string, string, number, number][]
      // A message that we hold is not idle, however long its handler takes.
      const ids = pending.map(([id]) => id).filter((id) => !this.#ours.has(id))
      if (ids.length > 0) {
        const claimed = (await this.#commands.callBuffer(
          'XCLAIM',
          topic,
          group,
          name,
          String(Math.floor(idle)),
          ...ids,
        )) as (Entry | null)[]
        // Before Redis 7 an entry that was trimmed away comes as null and stays pending for ever.
        if (claimed.length === ids.length)
          for (const [index, entry] of claimed.entries()) if (entry === null) this.#acknowledger.add(ids[index] as string)
        this.#accept(claimed, 1)
      }
      const last = pending.at(-1)
      if (last === undefined || pending.length < room) break
      start = `(${last[0]}`
    }
    // When nothing of it is left its name may go. Deleting a consumer that has pending messages would lose them.
    if (consumer !== undefined) await this.#forget(consumer)
  }

  async #forget(consumer: string): Promise<void> {
    const { topic, group } = this.#settings
    const script = redisScript(
      "if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) == 0 then return redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2]) end return -1",
    )
    await this.#commands
      .script(script, [topic], [group, consumer])
      .catch((error: unknown) => this.#log.debug(`topic ${topic}: consumer ${consumer} stays: ${messageOf(error)}`))
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#ended ??= this.#end()
    return this.#ended
  }

  async #end(): Promise<void> {
    this.#ending.abort()
    for (const timer of this.#timers) clearTimeout(timer)
    this.#timers.clear()
    this.#waiting = []
    await Promise.all([this.#running.drain(this.#settings.drainTimeout), this.#reading?.end()])
    await this.#acknowledger.flush()
    this.#onEnd()
    await this.#release()
  }

  /** What stays pending goes to the group under a name without a lease: whoever looks next takes it. */
  async #release(): Promise<void> {
    const { topic, group, name } = this.#settings
    const left = leftName(name)
    const move = redisScript(
      "local p = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 100000, ARGV[2]) for _, e in ipairs(p) do redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0, e[1], 'JUSTID') end if #p < 100000 then redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2]) end return #p",
    )
    await this.#commands
      .script(move, [topic], [group, name, left])
      .catch((error: unknown) => this.#log.debug(`topic ${topic}: ${messageOf(error)}`))
  }
}

function messageOfFields(topic: string, fields: readonly Buffer[]): DeliveredMessage {
  let data: Buffer = Buffer.alloc(0)
  let metadata: Record<string, string> = {}
  for (let index = 0; index + 1 < fields.length; index += 2) {
    const name = (fields[index] as Buffer).toString()
    const value = fields[index + 1] as Buffer
    if (name === 'data') data = value
    else if (name === 'metadata') metadata = parseStringMap(value.toString())
  }
  return { topic, data, contentType: undefined, metadata }
}

function parseStringMap(text: string): Record<string, string> {
  try {
    const parsed: unknown = JSON.parse(text)
    if (parsed === null || typeof parsed !== 'object') return {}
    return Object.fromEntries(Object.entries(parsed).map(([name, value]) => [name, String(value)]))
  } catch {
    return {}
  }
}

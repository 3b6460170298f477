import { setTimeout as pause } from 'node:timers/promises'
import type { DeliveredMessage, MessageHandler } from '../../../blocks/pubsub/driver.ts'
import { messageOf } from '../../../errors.ts'
import type { Logger } from '../../../telemetry/log.ts'
import { backoff, call, Running } from '../running.ts'
import type { Statements } from './schema.ts'
import type { Writer } from './writer.ts'

export interface ConsumerSettings {
  topic: string
  group: string
  owner: string
  concurrency: number
  redeliverInterval: number
  maxRedeliverInterval: number
  /** 0: no limit. */
  maxDeliver: number
  drainTimeout: number
}

interface Row {
  id: number
  data: Uint8Array | null
  content_type: string | null
  metadata: string
  expires_at: number | null
  attempts?: number
}

/**
 * One subscription. Takes as many messages as it has free handlers (`take`, inside a transaction), runs them, and
 * settles each: acknowledge, reject (waits without an owner, any member of the group may have it) or hand back.
 * With one handler the order is strict: a rejected message keeps the handler until it is handled.
 */
export class Consumer implements AsyncDisposable {
  /** Something may have arrived since `take` last found nothing. */
  dirty = true
  readonly #settings: ConsumerSettings
  readonly #handler: MessageHandler
  readonly #statements: Statements
  readonly #writer: Writer
  readonly #log: Logger
  readonly #running = new Running()
  readonly #active = new Set<number>()
  readonly #ending = new AbortController()
  readonly #onSettled: () => void
  readonly #onEnd: () => void
  #dueTimer: NodeJS.Timeout | undefined
  #ended: Promise<void> | undefined

  constructor(
    settings: ConsumerSettings,
    handler: MessageHandler,
    parts: { statements: Statements; writer: Writer; log: Logger; onSettled: () => void; onEnd: (consumer: Consumer) => void },
  ) {
    this.#settings = settings
    this.#handler = handler
    this.#statements = parts.statements
    this.#writer = parts.writer
    this.#log = parts.log
    this.#onSettled = parts.onSettled
    this.#onEnd = () => parts.onEnd(this)
  }

  get topic(): string {
    return this.#settings.topic
  }

  /** Looks, without a lock, whether `take` would find something; sets the timer for the next due message when not. */
  wants(): boolean {
    if (!this.dirty || this.#free() === 0) return false
    const { topic, group } = this.#settings
    if (this.#statements.hasNew.get(topic, group) !== undefined) return true
    const due = (this.#statements.nextDue.get(topic, group) as { due: number | null }).due
    if (due !== null && due <= Date.now()) return true
    this.dirty = false
    this.#wakeAt(due)
    return false
  }

  /** Inside a transaction: takes messages for the free handlers; gives what starts them after the commit. */
  take(): (() => void) | undefined {
    const free = this.#free()
    if (!this.dirty || free === 0) return undefined
    const { topic, group, owner } = this.#settings
    const statements = this.#statements
    const now = Date.now()
    const taken: Row[] = []
    let left = free
    for (const row of statements.dueMessages.all(topic, group, now, left) as unknown as Row[]) {
      left--
      if (row.data === null || expired(row, now)) statements.forget.run(topic, group, row.id)
      else {
        statements.retake.run(owner, topic, group, row.id)
        taken.push({ ...row, attempts: (row.attempts ?? 0) + 1 })
      }
    }
    if (left > 0) {
      const cursor = (statements.cursor.get(topic, group) as { cursor: number } | undefined)?.cursor ?? 0
      const fresh = statements.newMessages.all(topic, cursor, left) as unknown as Row[]
      for (const row of fresh) {
        if (expired(row, now)) continue
        statements.take.run(topic, group, row.id, owner)
        taken.push({ ...row, attempts: 1 })
      }
      const last = fresh.at(-1)
      if (last !== undefined) statements.moveCursor.run(last.id, topic, group)
    }
    return () => {
      for (const row of taken) {
        this.#active.add(row.id)
        this.#running.start(() => this.#deliver(row))
      }
    }
  }

  #free(): number {
    return this.#ended === undefined ? this.#settings.concurrency - this.#running.size : 0
  }

  #wakeAt(due: number | null): void {
    clearTimeout(this.#dueTimer)
    if (due === null) return
    this.#dueTimer = setTimeout(() => this.wake(), Math.min(Math.max(due - Date.now(), 1), 2 ** 31 - 1))
  }

  /** Looks again at the next turn. */
  wake(): void {
    this.dirty = true
    this.#writer.schedule()
  }

  async #deliver(row: Row): Promise<void> {
    const { topic, group, owner, concurrency } = this.#settings
    const statements = this.#statements
    const settle = (run: () => void, rings = false) => {
      if (!this.#active.delete(row.id)) return
      this.dirty = true
      this.#writer.add({ run, rings, done: this.#onSettled })
    }
    const handBack = () => settle(() => void statements.handBack.run(topic, group, row.id, owner), true)
    const message: DeliveredMessage = {
      topic,
      data: Buffer.from((row.data as Uint8Array).buffer, (row.data as Uint8Array).byteOffset, (row.data as Uint8Array).byteLength),
      contentType: row.content_type ?? undefined,
      metadata: JSON.parse(row.metadata) as Record<string, string>,
    }
    for (let attempt = row.attempts ?? 1; ; attempt++) {
      try {
        await call(this.#handler, message, this.#running.signal)
        return settle(() => void statements.acknowledge.run(topic, group, row.id, owner))
      } catch (error) {
        if (this.#ending.signal.aborted) return handBack()
        if (this.#settings.maxDeliver > 0 && attempt >= this.#settings.maxDeliver) {
          this.#log.error(`topic ${topic}: message ${row.id} given up after ${attempt} tries (maxDeliver): ${messageOf(error)}`)
          return settle(() => void statements.acknowledge.run(topic, group, row.id, owner))
        }
        const delay = backoff(attempt, this.#settings.redeliverInterval, this.#settings.maxRedeliverInterval)
        this.#log.warn(`topic ${topic}: message ${row.id} not handled (try ${attempt}), again in ${delay} ms: ${messageOf(error)}`)
        if (concurrency > 1) {
          const due = Date.now() + delay
          // Rings, so that the others of the group set their timers too and one of them may be free when it is due.
          return settle(() => void statements.reject.run(due, topic, group, row.id, owner), true)
        }
        this.#writer.add({ run: () => void statements.keep.run(topic, group, row.id, owner) })
        await pause(delay, undefined, { signal: this.#ending.signal }).catch(() => undefined)
        if (this.#ending.signal.aborted) return handBack()
      }
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#ended ??= this.#end()
    return this.#ended
  }

  async #end(): Promise<void> {
    const { topic, group, owner } = this.#settings
    clearTimeout(this.#dueTimer)
    this.#ending.abort()
    await this.#running.drain(this.#settings.drainTimeout)
    for (const id of this.#active) this.#writer.add({ run: () => void this.#statements.handBack.run(topic, group, id, owner), rings: true })
    this.#active.clear()
    this.#onEnd()
    await this.#writer.flushed()
  }
}

function expired(row: Row, now: number): boolean {
  return row.expires_at !== null && row.expires_at <= now
}

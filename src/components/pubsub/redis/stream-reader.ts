import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf } from '../../../errors.ts'
import type { Logger } from '../../../telemetry/log.ts'
import { pause } from '../../../waiting.ts'
import type { RedisClient } from '../../redis/client.ts'
import { backoff } from '../running.ts'

export type Entry = [id: Buffer, fields: Buffer[] | null]

export interface StreamReaderOptions {
  topic: string
  group: string
  /** The consumer under whose name messages are pending. */
  name: string
  /** The reading connection, which waits at the server, and the one that can end its wait. */
  reader: RedisClient
  commands: RedisClient
  log: Logger
  /** How many messages may come now. */
  room(): number
  accept(entries: readonly Entry[]): void
  createGroup(): Promise<void>
}

/** Milliseconds that one read waits at the server. */
export const BLOCK = 2000
/** Between two reads that fail, milliseconds: at first, at most, and while the server loads its data. */
const RETRY = 50
const MOST_RETRY = 2000
const LOADING_RETRY = 250

/** Reads what is new for one consumer, in a loop on a connection of its own: as much as there is room for, wherever the server is. */
export class StreamReader {
  readonly #options: StreamReaderOptions
  readonly #ending = new AbortController()
  readonly #loop: Promise<void>
  #clientId: string | undefined
  #roomy: (() => void) | undefined
  #again: (() => void) | undefined

  constructor(options: StreamReaderOptions) {
    this.#options = options
    this.#loop = this.#read()
  }

  /** There may be room again. */
  roomy(): void {
    this.#roomy?.()
    this.#roomy = undefined
  }

  /** The reading connection stands again. */
  connected(): void {
    this.#again?.()
  }

  /** Ends the read that waits in an orderly way: cut off, the server could still hand messages to nobody. */
  async end(): Promise<void> {
    this.#ending.abort()
    const { commands, reader } = this.#options
    let reading = true
    const over = this.#loop.finally(() => (reading = false))
    this.roomy()
    for (const until = Date.now() + BLOCK + 500; reading && Date.now() < until; ) {
      if (this.#clientId !== undefined && commands.ready) await commands.call('CLIENT', 'UNBLOCK', this.#clientId).catch(() => undefined)
      await Promise.race([over, sleep(20)])
      if (!reader.ready) break
    }
    reader.disconnect()
    await over
  }

  async #read(): Promise<void> {
    const { topic, group, name, reader, log, room, accept, createGroup } = this.#options
    let failures = 0
    while (!this.#ending.signal.aborted) {
      const count = room()
      if (count <= 0) {
        await new Promise<void>((resolve) => {
          this.#roomy = resolve
        })
        continue
      }
      try {
        // A cluster has a connection per node and no one id; there the block's own end is waited for.
        if (!reader.isCluster && this.#clientId === undefined) this.#clientId = String(await reader.call('CLIENT', 'ID'))
        if (this.#ending.signal.aborted) return
        const options = ['GROUP', group, name, 'COUNT', count, 'BLOCK', BLOCK, 'STREAMS', topic, '>']
        const reply = (await reader.callBuffer('XREADGROUP', ...options)) as [Buffer, Entry[]][] | null
        failures = 0
        for (const [, entries] of reply ?? []) accept(entries)
      } catch (error) {
        if (this.#ending.signal.aborted) return
        failures++
        this.#clientId = undefined
        const reason = messageOf(error)
        log.warn(`topic ${topic}: cannot read: ${reason}`)
        if (reason.startsWith('NOGROUP'))
          await createGroup().catch((again: unknown) => log.warn(`topic ${topic}: cannot create the group: ${messageOf(again)}`))
        const most = reason.startsWith('LOADING') ? LOADING_RETRY : MOST_RETRY
        await this.#back(reader.ready ? backoff(failures, RETRY, most) : MOST_RETRY)
      }
    }
  }

  /** Waits so long at most: a connection that stands again is read from at once. */
  async #back(milliseconds: number): Promise<void> {
    const over = new AbortController()
    this.#again = () => over.abort()
    await pause(milliseconds, AbortSignal.any([this.#ending.signal, over.signal]))
    this.#again = undefined
  }
}

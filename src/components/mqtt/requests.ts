import { answerPacket, PACKET } from './packets.ts'

/** A packet that waits for its answer. */
export interface Waiting {
  readonly id: number
  readonly packet: Buffer
  /** What goes over a new connection in its place; undefined: it is not sent again. */
  again: (() => Buffer) | undefined
  resolve(body: Buffer): void
  reject(error: Error): void
}

export interface RequestOptions {
  /** The packet, with the id that it gets. */
  make(id: number): Buffer
  /** The same, marked as a duplicate. */
  again?: ((id: number) => Buffer) | undefined
  /** What it takes in memory. */
  bytes: number
  timeout: number
  /** Says why, when there is no answer in time. */
  late(): Error
}

/** What waits for an answer, at most. */
const MOST_WAITING = 20_000
const MOST_BYTES = 64 * 2 ** 20

/** Packets without an answer, by their ids; each is answered, sent again over the next connection, or late. */
export class Requests {
  readonly #waiting = new Map<number, Waiting>()
  #bytes = 0
  #lastId = 0

  get size(): number {
    return this.#waiting.size
  }

  /** Whether so many bytes more may wait. */
  fits(bytes: number): boolean {
    return this.#waiting.size === 0 || (this.#waiting.size < MOST_WAITING && this.#bytes + bytes <= MOST_BYTES)
  }

  /** The packet to send, and its answer. Throws when it cannot be made. */
  add({ make, again, bytes, timeout, late }: RequestOptions): { packet: Buffer; answer: Promise<Buffer> } {
    const id = this.#freeId()
    const packet = make(id)
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
    const timer = setTimeout(() => {
      if (this.#waiting.get(id) === waiting) this.#waiting.delete(id)
      waiting.reject(late())
    }, timeout)
    const settle = () => {
      clearTimeout(timer)
      this.#bytes -= bytes
    }
    const waiting: Waiting = {
      id,
      packet,
      again: again && (() => again(id)),
      resolve: (body) => {
        settle()
        resolve(body)
      },
      reject: (error) => {
        settle()
        reject(error)
      },
    }
    this.#bytes += bytes
    this.#waiting.set(id, waiting)
    return { packet, answer: promise }
  }

  #freeId(): number {
    do this.#lastId = (this.#lastId % 0xffff) + 1
    while (this.#waiting.has(this.#lastId))
    return this.#lastId
  }

  answered(id: number, body: Buffer): void {
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    waiting?.resolve(body)
  }

  /** The broker has it (QoS 2): from here on only the release may have to be said again. */
  received(id: number): void {
    const waiting = this.#waiting.get(id)
    if (waiting?.again) waiting.again = () => answerPacket(PACKET.pubrel, id)
  }

  /** What a new connection begins with. */
  toSend(): Buffer[] {
    return [...this.#waiting.values()].map((waiting) => waiting.again?.() ?? waiting.packet)
  }

  /** Refuses what is not sent again; `all`: everything. */
  refuse(error: Error, all: boolean): void {
    for (const waiting of [...this.#waiting.values()]) {
      if (!all && waiting.again) continue
      this.#waiting.delete(waiting.id)
      waiting.reject(error)
    }
  }
}

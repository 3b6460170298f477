import type { MessageOf } from '../../transport/grpc/message.ts'
import type { BaseCommand } from './commands.ts'
import { PulsarError, UnreachableError } from './errors.ts'

export type Command = MessageOf<typeof BaseCommand>

interface Asked {
  resolve(command: Command): void
  reject(error: Error): void
  timer: NodeJS.Timeout
}

/** What was asked over one connection and is not answered yet, by request id: as many as callers wait for. */
export class Requests {
  readonly #asked = new Map<number, Asked>()
  readonly #address: string
  #last = 0

  constructor(address: string) {
    this.#address = address
  }

  /** Sends what `send` makes of a new id; rejects with PulsarError, or UnreachableError after `limit` milliseconds. */
  add(limit: number, send: (id: number) => void): Promise<Command> {
    const id = ++this.#last
    return new Promise<Command>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#asked.delete(id)
        reject(new UnreachableError(`the broker at ${this.#address} does not answer within ${limit} ms`))
      }, limit)
      this.#asked.set(id, { resolve, reject, timer })
      send(id)
    })
  }

  /** Gives the answer, if this command is one, to who waits for it. */
  answer(command: Command): void {
    const { error, success, producerSuccess, partitionsResponse, lookupResponse, ackResponse } = command
    const part = error ?? success ?? producerSuccess ?? partitionsResponse ?? lookupResponse ?? ackResponse
    const asked = part && this.#asked.get(part.requestId)
    if (!asked) return
    this.#asked.delete(part.requestId)
    clearTimeout(asked.timer)
    if (error) asked.reject(new PulsarError(error.error, error.message))
    else asked.resolve(command)
  }

  /** Nothing is answered any more. */
  fail(error: Error): void {
    for (const asked of this.#asked.values()) {
      clearTimeout(asked.timer)
      asked.reject(error)
    }
    this.#asked.clear()
  }
}

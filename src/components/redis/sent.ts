import type { Argument } from './client.ts'
import type { Reply } from './reply.ts'

export interface Command {
  readonly name: string
  readonly args: readonly Argument[]
  readonly resolve: (reply: Reply) => void
  readonly reject: (error: Error) => void
  attempts: number
  /** When it was given, and sent last; by performance.now(). */
  given: number
  sent: number
  /** Replies that are still to come; one, but a subscription is confirmed channel by channel. */
  replies?: number
}

/** Commands that are sent and not answered; answers come in this order. */
export class SentCommands {
  #commands: Command[] = []
  #head = 0

  get oldest(): Command | undefined {
    return this.#commands[this.#head]
  }

  push(command: Command): void {
    this.#commands.push(command)
  }

  /** The oldest has its answer. */
  shift(): void {
    this.#head++
    if (this.#head === this.#commands.length) {
      this.#commands = []
      this.#head = 0
    } else if (this.#head > 1024 && this.#head * 2 > this.#commands.length) {
      this.#commands.splice(0, this.#head)
      this.#head = 0
    }
  }

  /** All of them, which leave. */
  take(): Command[] {
    const taken = this.#commands.slice(this.#head)
    this.#commands = []
    this.#head = 0
    return taken
  }
}

import type { DeliveredMessage, MessageHandler } from './driver.ts'

/** Collects what handlers get and lets a test wait for it. */
export class Inbox {
  readonly messages: DeliveredMessage[] = []
  readonly #waiters = new Set<() => void>()

  readonly handler: MessageHandler = async (message) => this.add(message)

  add(message: DeliveredMessage): void {
    this.messages.push(message)
    for (const wake of this.#waiters) wake()
  }

  get texts(): string[] {
    return this.messages.map((message) => message.data.toString())
  }

  /** Waits until `done`; the test's own time limit is the bound. */
  async until(done: (texts: string[]) => boolean): Promise<void> {
    while (!done(this.texts)) {
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#waiters.add(resolve)
      await promise
      this.#waiters.delete(resolve)
    }
  }
}

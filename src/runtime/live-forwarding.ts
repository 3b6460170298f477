import type { Forwarding, ForwardingOptions } from '../blocks/pubsub/forwarding/forwarding.ts'
import type { Waiting } from '../blocks/pubsub/forwarding/store.ts'
import type { PublishLine } from '../blocks/pubsub/publish-line.ts'
import type { StoreAndForwardResource } from '../resources/kinds.ts'

/** Keeps publishes while a broker is away, for the pub/subs that resources name now; what no resource asks for is not even loaded. */
export class LiveForwarding implements AsyncDisposable {
  readonly #options: Omit<ForwardingOptions, 'resources'>
  #current: Forwarding | undefined
  #started = false
  #closed = false
  /** What publishing passes, by pub/sub. */
  readonly lines = { get: (pubsub: string): PublishLine | undefined => this.#current?.lines.get(pubsub) }

  constructor(options: Omit<ForwardingOptions, 'resources'>) {
    this.#options = options
  }

  /** Takes these in place of those before. Rejects with an Error naming the store's file when that cannot be used. */
  async replace(resources: readonly StoreAndForwardResource[]): Promise<void> {
    if (this.#current) return this.#current.replace(resources)
    if (resources.length === 0) return
    const { createForwarding } = await import('../blocks/pubsub/forwarding/forwarding.ts')
    if (this.#closed) return
    this.#current = createForwarding({ ...this.#options, resources })
    if (this.#started) this.#current.start()
  }

  /** Begins to forward; call it when the components have been loaded. */
  start(): void {
    this.#started = true
    this.#current?.start()
  }

  /** The component has come up. */
  came(pubsub: string): void {
    this.#current?.came(pubsub)
  }

  /** What waits, by pub/sub. */
  waiting(): [pubsub: string, waiting: Waiting][] {
    return this.#current?.waiting() ?? []
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    await this.#current?.[Symbol.asyncDispose]()
  }
}

import type { ComponentContext } from '../../component.ts'
import type { Flow } from '../../partitions/claim.ts'
import { openContainer } from '../blob-container.ts'
import { StorageClient } from '../storage-client.ts'
import { CheckpointStore } from './checkpoint-store.ts'
import type { HubEvent } from './event.ts'
import { Namespace } from './namespace.ts'
import { Processor } from './processor.ts'
import type { HubSettings } from './settings.ts'

export interface Reading {
  flow: Flow
  /** Messages of a partition between two checkpoints; 0: none is written. */
  every: number
  handle(event: HubEvent, signal: AbortSignal): Promise<void>
}

/** Limit for what a subscription needs of the storage before it can begin, milliseconds. */
const LIMIT = 30_000

/** What the components on Event Hubs share: a namespace, and where their checkpoints are. */
export class HubClient implements AsyncDisposable {
  readonly settings: HubSettings
  readonly namespace: Namespace
  readonly #context: ComponentContext
  readonly #label: string
  readonly #processors = new Set<Processor>()
  #storage: StorageClient | undefined
  #container: Promise<void> | undefined

  constructor(context: ComponentContext, settings: HubSettings, label: string) {
    this.#context = context
    this.settings = settings
    this.#label = label
    this.namespace = new Namespace(settings, label, context.log)
  }

  /** Connects, as far as nobody has to know a hub for it. */
  open(signal: AbortSignal): Promise<void> {
    return this.namespace.open(signal)
  }

  /** Reads a hub in the component's consumer group until disposed. Rejects with what is missing, or cannot be reached. */
  async read(hub: string, { flow, every, handle }: Reading): Promise<AsyncDisposable> {
    this.namespace.check(hub)
    const { group, namespace } = this.settings
    if (!group) throw new Error('property consumerID is required to subscribe to an Event Hub topic')
    const store = new CheckpointStore(await this.#open(), { namespace, hub, group })
    const { log } = this.#context
    const label = `${this.#label}: event hub ${hub}, group ${group}`
    const processor = new Processor(this.namespace, store, { hub, group, flow, every, label, handle, log })
    this.#processors.add(processor)
    const reading = {
      [Symbol.asyncDispose]: async () => {
        await processor[Symbol.asyncDispose]()
        this.#processors.delete(processor)
      },
    }
    try {
      await processor.start()
      return reading
    } catch (error) {
      await reading[Symbol.asyncDispose]()
      throw error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#processors].map((processor) => processor[Symbol.asyncDispose]()))
    await Promise.all([this.namespace[Symbol.asyncDispose](), this.#storage?.[Symbol.asyncDispose]()])
  }

  async #open(): Promise<StorageClient> {
    const { storage } = this.settings
    if (typeof storage === 'string') throw new Error(storage)
    this.#storage ??= new StorageClient(storage)
    this.#container ??= openContainer(this.#storage, storage, AbortSignal.timeout(LIMIT))
    try {
      await this.#container
    } catch (error) {
      this.#container = undefined
      throw new Error(`unable to connect to the checkpoint store: ${error instanceof Error ? error.message : error}`, { cause: error })
    }
    return this.#storage
  }
}

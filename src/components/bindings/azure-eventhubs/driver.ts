import type { Binding, BindingEvent, BindingRequest } from '../../../blocks/bindings/driver.ts'
import { HubClient } from '../../azure/eventhubs/client.ts'
import { dataOf, metadataOf, outgoing } from '../../azure/eventhubs/event.ts'
import { eventHubField, hubFields, readHubSettings } from '../../azure/eventhubs/settings.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'

/** Handlers of a partition at once, where no order is kept. */
const AT_ONCE = 100

/** One event hub: `create` sends to it, reading feeds the app as a member of a consumer group. */
class EventHubsBinding implements Binding {
  readonly operations = ['create']
  readonly #client: HubClient
  readonly #hub: string

  constructor(context: ComponentContext) {
    const settings = readHubSettings(context.properties, true)
    this.#hub = settings.hub as string
    this.#client = new HubClient(context, settings, `binding ${context.name}`)
  }

  init(signal: AbortSignal): Promise<void> {
    return this.#client.open(signal)
  }

  ping(signal: AbortSignal): Promise<void> {
    return this.#client.open(signal)
  }

  async invoke({ data, metadata }: BindingRequest, signal?: AbortSignal): Promise<undefined> {
    const key = metadata.partitionKey || undefined
    const messages = [outgoing(data, metadata.contentType, key)]
    const { error } = await this.#client.namespace.send(this.#hub, { key, messages, most: undefined }, signal)
    if (error) throw error
  }

  read(handler: (event: BindingEvent) => Promise<Buffer | undefined>): Promise<AsyncDisposable> {
    const { allProperties, inOrder } = this.#client.settings
    return this.#client.read(this.#hub, {
      flow: { window: inOrder ? 1 : AT_ONCE },
      every: 1,
      handle: async (event) => {
        await handler({ data: dataOf(event), metadata: metadataOf(event, allProperties) })
      },
    })
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#client[Symbol.asyncDispose]()
  }
}

/** bindings.azure.eventhubs */
export const driver: DriverModule<Binding> = {
  summary: 'Sends to an event hub of Azure Event Hubs, and feeds the app from it.',
  metadata: [eventHubField, ...hubFields],
  create: (context) => new EventHubsBinding(context),
}

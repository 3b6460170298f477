import type { Binding, BindingEvent, BindingRequest } from '../../../blocks/bindings/driver.ts'
import type { AmqpDelivery } from '../../azure/amqp/types.ts'
import { Consumer } from '../../azure/servicebus/consumer.ts'
import { contentOf } from '../../azure/servicebus/incoming.ts'
import { Namespace } from '../../azure/servicebus/namespace.ts'
import { messageFrom } from '../../azure/servicebus/outgoing.ts'
import { bindingFields, readSettings } from '../../azure/servicebus/settings.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'

/** One queue: `create` sends to it, reading feeds the app from it. */
class ServiceBusBinding implements Binding {
  readonly operations = ['create']
  readonly #context: ComponentContext
  readonly #namespace: Namespace
  readonly #readers = new Set<Consumer>()

  constructor(context: ComponentContext) {
    this.#context = context
    this.#namespace = new Namespace(context, readSettings(bindingFields, context.properties, context.appId), `binding ${context.name}`)
  }

  async init(signal: AbortSignal): Promise<void> {
    await this.#namespace.client.open(signal)
    await this.#namespace.admin.queue(this.#namespace.settings.queue)
  }

  async ping(signal: AbortSignal): Promise<void> {
    await this.#namespace.client.open(signal)
  }

  async invoke({ data, metadata }: BindingRequest, signal?: AbortSignal): Promise<undefined> {
    // Made at the start, and not again.
    await this.#namespace.publisher.send(this.#namespace.settings.queue, messageFrom(data, metadata), async () => {}, signal)
  }

  async read(handler: (event: BindingEvent) => Promise<unknown>): Promise<AsyncDisposable> {
    const { queue, maxActive, maxHandlers } = this.#namespace.settings
    const { name, log } = this.#context
    const handle = async (delivery: AmqpDelivery) => {
      await handler({ data: contentOf(delivery.message), metadata: metadataOf(delivery) })
    }
    const handlers = maxHandlers > 0 ? maxHandlers : maxActive
    const reader = new Consumer(this.#namespace, { entity: queue, handle, handlers, label: `binding ${name}: queue ${queue}`, log })
    this.#readers.add(reader)
    await reader.opened
    return {
      [Symbol.asyncDispose]: async () => {
        await reader[Symbol.asyncDispose]()
        this.#readers.delete(reader)
      },
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#readers].map((reader) => reader[Symbol.asyncDispose]()))
    await this.#namespace[Symbol.asyncDispose]()
  }
}

/** What the app is told of a message, by daprd's names; names and texts of application properties as in a query. */
function metadataOf({ message }: AmqpDelivery): Record<string, string> {
  const { properties = {}, applicationProperties = {} } = message
  const found: [string, string][] = [['id', properties.messageId ?? '']]
  if (properties.correlationId !== undefined) found.push(['correlationID', properties.correlationId])
  if (properties.subject !== undefined) found.push(['label', properties.subject])
  for (const [name, value] of Object.entries(applicationProperties))
    if (typeof value === 'string') found.push([queryEscaped(name), queryEscaped(value)])
  return Object.fromEntries(found)
}

/** As Go's url.QueryEscape. */
function queryEscaped(text: string): string {
  return encodeURIComponent(text)
    .replace(/[!'()*]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll('%20', '+')
}

/** bindings.azure.servicebusqueues */
export const driver: DriverModule<Binding> = {
  summary: 'Sends to a queue of Azure Service Bus and feeds the app from it.',
  metadata: bindingFields,
  create: (context) => new ServiceBusBinding(context),
}

import type { ComponentContext } from '../../component.ts'
import { AmqpClient } from '../amqp/client.ts'
import { sasToken, sasTokens } from '../amqp/sas.ts'
import type { TokenSource } from '../amqp/types.ts'
import type { Entra } from '../entra.ts'
import { entraTokens } from '../entra-tokens.ts'
import { Admin } from './admin.ts'
import { Publisher } from './publisher.ts'
import type { ServiceBusSettings } from './settings.ts'

/** One namespace of Service Bus: its connection, what is sent over it, and the entities that are made in it. */
export class Namespace implements AsyncDisposable {
  readonly settings: ServiceBusSettings
  readonly client: AmqpClient
  readonly admin: Admin
  readonly publisher: Publisher

  constructor(context: ComponentContext, settings: ServiceBusSettings, label: string) {
    this.settings = settings
    const { host, port, tls, connection, entra, admin, properties, timeout, note } = settings
    if (note) context.log.warn(`${label}: ${note}`)
    const tokens: TokenSource = connection ? sasTokens(connection) : entraTokens(entra as Entra)
    const containerId = `${context.appId}-${context.name}-${process.pid}`
    this.client = new AmqpClient({ host, port, tls, tokens, label, containerId, log: context.log })
    const authorization = async (resource: string, signal: AbortSignal) =>
      connection ? sasToken(connection, resource).token : `Bearer ${await (entra as Entra).token(signal)}`
    this.admin = new Admin({ base: admin, authorization, properties, timeout })
    this.publisher = new Publisher(this.client, settings, label, context.log)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client[Symbol.asyncDispose]()
    await Promise.all([this.admin[Symbol.asyncDispose](), this.settings.entra?.[Symbol.asyncDispose]()])
  }
}

import type { SecretStore } from '../../blocks/secrets/driver.ts'
import type { ComponentContext } from '../component.ts'
import { Connection } from './connection.ts'
import * as messages from './secrets-messages.ts'

const SERVICE = 'SecretStore'

/** A secret store behind a socket. */
export class PluggableSecrets implements SecretStore {
  features: SecretStore['features'] = []
  readonly #connection: Connection

  constructor(socket: string, context: ComponentContext) {
    this.#connection = new Connection({
      socket,
      instance: context.name,
      start: async (connection, signal) => {
        await connection.init(SERVICE, context.properties, signal)
        this.features = (await connection.features(SERVICE, signal)) as SecretStore['features'][number][]
      },
    })
  }

  init(signal: AbortSignal): Promise<void> {
    return this.#connection.ready(signal)
  }

  ping(signal: AbortSignal): Promise<void> {
    return this.#connection.ping(SERVICE, signal)
  }

  async get(key: string, metadata: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<Record<string, string>> {
    const request = { key, metadata }
    return (await this.#connection.call(`${SERVICE}/Get`, messages.GetSecretRequest, messages.GetSecretResponse, request, signal)).data
  }

  async bulkGet(metadata: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<Record<string, Record<string, string>>> {
    const request = { metadata }
    const reply = await this.#connection.call(
      `${SERVICE}/BulkGet`,
      messages.BulkGetSecretRequest,
      messages.BulkGetSecretResponse,
      request,
      signal,
    )
    return Object.fromEntries(Object.entries(reply.data).map(([name, { secrets }]) => [name, secrets]))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#connection[Symbol.asyncDispose]()
  }
}

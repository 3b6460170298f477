import type { ConnectionOptions } from 'node:tls'
import { AwsClient, type Service } from './client.ts'
import { Keys } from './keys.ts'
import { type AwsSettings, endpointOf } from './settings.ts'
import type { AwsKey } from './sign.ts'

/** Clients of one component, which share its keys. */
export interface Account extends AsyncDisposable {
  readonly settings: AwsSettings
  key(signal?: AbortSignal): Promise<AwsKey>
  client(service: Service, tls?: ConnectionOptions): AwsClient
}

export function openAccount(settings: AwsSettings): Account {
  const keys = new Keys(settings)
  const clients: AwsClient[] = []
  return {
    settings,
    key: keys.current,
    client(service, tls) {
      const endpoint = endpointOf(settings, service.host, service.id)
      const client = new AwsClient({ service, region: settings.region, endpoint, key: keys.current, tls })
      clients.push(client)
      return client
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([keys, ...clients].map((one) => one[Symbol.asyncDispose]()))
    },
  }
}

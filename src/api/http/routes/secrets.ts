import type { SecretsBlock } from '../../../blocks/secrets/block.ts'
import { json, noContent, type Route } from '../route.ts'

/** The routes of the secrets building block. */
export function secretsRoutes(block: SecretsBlock): Route[] {
  return [
    {
      methods: ['GET'],
      path: '/v1.0/secrets/:store/bulk',
      group: 'secrets',
      version: 'v1',
      name: 'GetBulkSecret',
      async handler(call) {
        const secrets = await block.bulkGet(call.params.store as string, call.metadata(), call.signal)
        return secrets ? json(secrets) : noContent
      },
    },
    {
      methods: ['GET'],
      path: '/v1.0/secrets/:store/:key',
      group: 'secrets',
      version: 'v1',
      name: 'GetSecret',
      async handler(call) {
        const secret = await block.get(call.params.store as string, call.params.key as string, call.metadata(), call.signal)
        return secret ? json(secret) : noContent
      },
    },
  ]
}

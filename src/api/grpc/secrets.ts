import type { SecretsBlock } from '../../blocks/secrets/block.ts'
import { map, mapOf, message, string } from '../../transport/grpc/message.ts'
import { daprUnary, type GrpcMethods } from './method.ts'

const runtime = 'dapr.proto.runtime.v1.'
const GetSecretRequest = message(`${runtime}GetSecretRequest`, { storeName: string(1), key: string(2), metadata: map(3) })
const GetSecretResponse = message(`${runtime}GetSecretResponse`, { data: map(1) })
const GetBulkSecretRequest = message(`${runtime}GetBulkSecretRequest`, { storeName: string(1), metadata: map(2) })
const GetBulkSecretResponse = message(`${runtime}GetBulkSecretResponse`, {
  data: mapOf(1, message(`${runtime}SecretResponse`, { secrets: map(1) })),
})

/** The methods of the secrets building block. */
export function secretsMethods(secrets: SecretsBlock): GrpcMethods {
  return [
    daprUnary('GetSecret', GetSecretRequest, GetSecretResponse, async ({ storeName, key, metadata }, call) => ({
      data: await secrets.get(storeName, key, metadata, call.signal),
    })),
    daprUnary('GetBulkSecret', GetBulkSecretRequest, GetBulkSecretResponse, async ({ storeName, metadata }, call) => {
      const all = (await secrets.bulkGet(storeName, metadata, call.signal)) ?? {}
      return { data: Object.fromEntries(Object.entries(all).map(([name, values]) => [name, { secrets: values }])) }
    }),
  ]
}

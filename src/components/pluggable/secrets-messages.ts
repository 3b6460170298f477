import { map, mapOf, message, string } from '../../transport/grpc/message.ts'

const P = 'dapr.proto.components.v1'

export const GetSecretRequest = message(`${P}.GetSecretRequest`, { key: string(1), metadata: map(2) })
export const GetSecretResponse = message(`${P}.GetSecretResponse`, { data: map(1) })
export const BulkGetSecretRequest = message(`${P}.BulkGetSecretRequest`, { metadata: map(1) })
const SecretResponse = message(`${P}.SecretResponse`, { secrets: map(1) })
export const BulkGetSecretResponse = message(`${P}.BulkGetSecretResponse`, { data: mapOf(1, SecretResponse) })

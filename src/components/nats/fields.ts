import type { NodeConnectionOptions } from '@nats-io/transport-node'
import type { MetadataField, MetadataValues } from '../metadata.ts'
import { readOptions } from './options.ts'

/** Where NATS is and how to log in, with the names that Dapr has for pubsub.jetstream; a `name` of the connection goes with them. */
export const natsFields: readonly MetadataField[] = [
  {
    name: 'natsURL',
    kind: 'string',
    sensitive: true,
    description: 'nats://host:port, tls:// for TLS; a comma-separated list for a cluster.',
  },
  { name: 'token', kind: 'string', sensitive: true, description: 'Token to log in with.' },
  { name: 'jwt', kind: 'string', sensitive: true, description: 'JWT to log in with; needs seedKey.' },
  { name: 'seedKey', kind: 'string', sensitive: true, description: 'Seed of the key that signs for jwt.' },
  { name: 'tls_client_cert', kind: 'string', description: 'Path of the client certificate.' },
  { name: 'tls_client_key', kind: 'string', description: 'Path of its key.' },
]

/** What a link needs, from the values of these fields; throws MetadataError. */
export function connectionOf(values: MetadataValues): { options: NodeConnectionOptions; address: string } {
  const text = (name: string) => values[name] as string | undefined
  const credentials = {
    jwt: text('jwt'),
    seedKey: text('seedKey'),
    token: text('token'),
    clientCert: text('tls_client_cert'),
    clientKey: text('tls_client_key'),
  }
  return readOptions(text('natsURL') ?? '', credentials, text('name') as string)
}

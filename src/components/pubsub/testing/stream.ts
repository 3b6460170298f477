import { jetstreamManager, StorageType } from '@nats-io/jetstream'
import { connect, type TlsOptions } from '@nats-io/transport-node'

/** For tests and the bench: the driver makes no streams, as daprd does not. */
export async function makeStream(address: string, name: string, subjects: string[], tls?: TlsOptions): Promise<void> {
  const { host, username, password } = new URL(address.includes('://') ? address : `nats://${address}`)
  const connection = await connect({ servers: host, ...(username ? { user: username, pass: password } : {}), ...(tls ? { tls } : {}) })
  const manager = await jetstreamManager(connection)
  await manager.streams.add({ name, subjects, storage: StorageType.File })
  await connection.close()
}

import { azurite, azuriteQueues, azuriteTables } from './azurite.ts'
import { cassandra } from './cassandra.ts'
import { gcs, keyVault, pubsubFake, secretManager } from './clouds.ts'
import { cosmosdb } from './cosmosdb.ts'
import { datastore } from './datastore.ts'
import { etcd } from './etcd.ts'
import { eventHubs } from './eventhubs.ts'
import { ferretdb } from './ferretdb.ts'
import { kafka } from './kafka.ts'
import { mariadb } from './mariadb.ts'
import { memcached } from './memcached.ts'
import { mongodb } from './mongodb.ts'
import { mosquitto } from './mosquitto.ts'
import { moto } from './moto.ts'
import { mysql } from './mysql.ts'
import { nats } from './nats.ts'
import { opensearch } from './opensearch.ts'
import { postgres } from './postgres.ts'
import { pulsar } from './pulsar.ts'
import { rabbitmq } from './rabbitmq.ts'
import { redis } from './redis.ts'
import { redisStack } from './redis-stack.ts'
import { rsyslog } from './rsyslog.ts'
import { help, type RunningServer, type ServerKind } from './server.ts'
import { serviceBus } from './servicebus.ts'
import { sqlserver } from './sqlserver.ts'

/** Every server that a test may ask for. */
export const SERVERS: readonly ServerKind[] = [
  redis,
  redisStack,
  postgres,
  mariadb,
  mysql,
  rabbitmq,
  kafka,
  nats,
  mosquitto,
  memcached,
  etcd,
  moto,
  azurite,
  opensearch,
  rsyslog,
  azuriteQueues,
  azuriteTables,
  cosmosdb,
  serviceBus,
  keyVault,
  gcs,
  pubsubFake,
  secretManager,
  datastore,
  mongodb,
  ferretdb,
  cassandra,
  sqlserver,
  pulsar,
  eventHubs,
]

/** Servers that this machine offers neither by program nor by environment. */
export function missingServers(): { name: string; help: string }[] {
  return SERVERS.filter((kind) => !process.env[kind.variable] && !kind.available()).map((kind) => ({ name: kind.name, help: help(kind) }))
}

/**
 * Starts, all at once, the servers that the test files share, and names them in the environment of this process.
 * @returns how to stop them.
 */
export async function startShared(): Promise<() => Promise<void>> {
  const kinds = SERVERS.filter((kind) => kind.shared && !process.env[kind.variable] && kind.available())
  const running: RunningServer[] = []
  const results = await Promise.allSettled(
    kinds.map(async (kind) => {
      const server = await kind.start()
      running.push(server)
      process.env[kind.variable] = server.address
    }),
  )
  const stop = async () => {
    await Promise.allSettled(running.map((server) => server.stop()))
  }
  const failed = results.find((result) => result.status === 'rejected')
  if (!failed) return stop
  await stop()
  throw failed.reason
}

import { installAzurite } from './azurite.ts'
import { installCassandra } from './cassandra.ts'
import { installClouds } from './clouds.ts'
import { installCosmosdb } from './cosmosdb.ts'
import { installEventHubs } from './eventhubs.ts'
import { installFerretdb } from './ferretdb.ts'
import { installKafka } from './kafka.ts'
import { installMongodb } from './mongodb.ts'
import { installMoto } from './moto.ts'
import { installMysql } from './mysql.ts'
import { installOpenSearch } from './opensearch.ts'
import { installPulsar } from './pulsar.ts'
import { installRedisStack } from './redis-stack.ts'
import { installServiceBus } from './servicebus.ts'

// node test/servers/install.ts: brings the servers that no package manager of the machine has, all at once.
const installs = {
  'Kafka (Maven Central)': installKafka,
  'Cassandra (Maven Central)': installCassandra,
  'mongo-java-server (Maven Central)': installMongodb,
  'FerretDB (Go)': installFerretdb,
  'OpenSearch (Maven Central)': installOpenSearch,
  'Pulsar (Maven Central)': installPulsar,
  'Redis Stack (PyPI)': installRedisStack,
  'moto (PyPI)': installMoto,
  'Azurite (npm)': installAzurite,
  'MySQL (Debian sid)': installMysql,
  'cosmosdb-server (npm)': installCosmosdb,
  'Service Bus’s stand-in (npm)': installServiceBus,
  'Event Hubs’ SDK and stand-in (npm)': installEventHubs,
  'SDKs’ stand-ins (Go)': installClouds,
}
const results = await Promise.allSettled(Object.values(installs).map((install) => install()))
for (const [index, result] of results.entries()) {
  if (result.status === 'fulfilled') continue
  console.error(`${Object.keys(installs)[index]}: ${result.reason instanceof Error ? result.reason.message : result.reason}`)
  process.exitCode = 1
}

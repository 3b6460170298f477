import type { StateStore } from '../../blocks/state/driver.ts'
import type { DriverModule } from '../component.ts'

/** One type of component: its driver, and with it its client library, loads when a resource names it. */
export interface DriverRow {
  type: string
  /** The first is what a resource without a version gets. */
  versions: readonly string[]
  load(): Promise<DriverModule<StateStore>>
}

const sqlite = async () => (await import('./sqlite/driver.ts')).driver
const postgresql = async () => (await import('./postgresql/driver.ts')).driver

/** Every state store there is. */
export const stateDrivers: DriverRow[] = [
  { type: 'state.in-memory', versions: ['v1'], load: async () => (await import('./in-memory/driver.ts')).driver },
  { type: 'state.sqlite', versions: ['v1'], load: sqlite },
  { type: 'state.sqlite3', versions: ['v1'], load: sqlite },
  { type: 'state.redis', versions: ['v1'], load: async () => (await import('./redis/driver.ts')).driver },
  { type: 'state.etcd', versions: ['v1', 'v2'], load: async () => (await import('./etcd/driver.ts')).driver },
  { type: 'state.cassandra', versions: ['v1'], load: async () => (await import('./cassandra/driver.ts')).driver },
  { type: 'state.mongodb', versions: ['v1'], load: async () => (await import('./mongodb/driver.ts')).driver },
  { type: 'state.memcached', versions: ['v1'], load: async () => (await import('./memcached/driver.ts')).driver },
  { type: 'state.mysql', versions: ['v1'], load: async () => (await import('./mysql/driver.ts')).driver },
  { type: 'state.sqlserver', versions: ['v1'], load: async () => (await import('./sqlserver/driver.ts')).driver },
  { type: 'state.aws.dynamodb', versions: ['v1'], load: async () => (await import('./dynamodb/driver.ts')).driver },
  { type: 'state.azure.blobstorage', versions: ['v1', 'v2'], load: async () => (await import('./azure-blob/driver.ts')).driver },
  { type: 'state.azure.cosmosdb', versions: ['v1'], load: async () => (await import('./azure-cosmosdb/driver.ts')).driver },
  { type: 'state.azure.tablestorage', versions: ['v1'], load: async () => (await import('./azure-tables/driver.ts')).driver },
  { type: 'state.gcp.firestore', versions: ['v1'], load: async () => (await import('./gcp-firestore/driver.ts')).driver },
  { type: 'state.postgresql', versions: ['v1', 'v2'], load: postgresql },
  { type: 'state.postgres', versions: ['v1', 'v2'], load: postgresql },
]

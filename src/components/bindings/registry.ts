import type { Binding } from '../../blocks/bindings/driver.ts'
import type { DriverModule } from '../component.ts'

/** One driver: the type as resources name it, its versions, and its code, loaded when a resource asks for it. */
export interface DriverRow {
  type: string
  versions: readonly string[]
  load(): Promise<DriverModule<Binding>>
}

const postgres = async () => (await import('./postgresql/driver.ts')).driver
const serviceBus = async () => (await import('./servicebus/driver.ts')).driver
const mqtt = async () => (await import('./mqtt/driver.ts')).driver

export const bindingDrivers: readonly DriverRow[] = [
  { type: 'bindings.http', versions: ['v1'], load: async () => (await import('./http/driver.ts')).driver },
  { type: 'bindings.smtp', versions: ['v1'], load: async () => (await import('./smtp/driver.ts')).driver },
  { type: 'bindings.cron', versions: ['v1'], load: async () => (await import('./cron/driver.ts')).driver },
  { type: 'bindings.localstorage', versions: ['v1'], load: async () => (await import('./localstorage/driver.ts')).driver },
  { type: 'bindings.rabbitmq', versions: ['v1'], load: async () => (await import('./rabbitmq/driver.ts')).driver },
  { type: 'bindings.redis', versions: ['v1'], load: async () => (await import('./redis/driver.ts')).driver },
  { type: 'bindings.mysql', versions: ['v1'], load: async () => (await import('./mysql/driver.ts')).driver },
  { type: 'bindings.kafka', versions: ['v1'], load: async () => (await import('./kafka/driver.ts')).driver },
  { type: 'bindings.mqtt3', versions: ['v1'], load: mqtt },
  { type: 'bindings.mqtt', versions: ['v1'], load: mqtt },
  { type: 'bindings.nats', versions: ['v1'], load: async () => (await import('./nats/driver.ts')).driver },
  { type: 'bindings.graphql', versions: ['v1'], load: async () => (await import('./graphql/driver.ts')).driver },
  { type: 'bindings.aws.s3', versions: ['v1'], load: async () => (await import('./s3/driver.ts')).driver },
  { type: 'bindings.aws.sqs', versions: ['v1'], load: async () => (await import('./aws/sqs.ts')).driver },
  { type: 'bindings.aws.sns', versions: ['v1'], load: async () => (await import('./aws/sns.ts')).driver },
  { type: 'bindings.aws.dynamodb', versions: ['v1'], load: async () => (await import('./aws/dynamodb.ts')).driver },
  { type: 'bindings.azure.blobstorage', versions: ['v1'], load: async () => (await import('./azure-blob/driver.ts')).driver },
  { type: 'bindings.azure.cosmosdb', versions: ['v1'], load: async () => (await import('./azure-cosmosdb/driver.ts')).driver },
  { type: 'bindings.azure.eventhubs', versions: ['v1'], load: async () => (await import('./azure-eventhubs/driver.ts')).driver },
  { type: 'bindings.azure.storagequeues', versions: ['v1'], load: async () => (await import('./azure-queues/driver.ts')).driver },
  { type: 'bindings.azure.servicebusqueues', versions: ['v1'], load: serviceBus },
  { type: 'bindings.azure.servicebus.queues', versions: ['v1'], load: serviceBus },
  { type: 'bindings.gcp.bucket', versions: ['v1'], load: async () => (await import('./gcp-bucket/driver.ts')).driver },
  { type: 'bindings.postgresql', versions: ['v1'], load: postgres },
  { type: 'bindings.postgres', versions: ['v1'], load: postgres },
]

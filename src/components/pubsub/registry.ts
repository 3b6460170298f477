import type { PubSub } from '../../blocks/pubsub/driver.ts'
import type { DriverModule } from '../component.ts'

/** One driver as resources name it; its module and client library load when the first resource does. */
export interface DriverRow {
  type: string
  versions: readonly string[]
  load(): Promise<DriverModule<PubSub>>
}

const snssqs = async () => (await import('./snssqs/driver.ts')).driver
const serviceBusTopics = async () => (await import('./servicebus/topics.ts')).driver
const serviceBusQueues = async () => (await import('./servicebus/queues.ts')).driver
const mqtt = async () => (await import('./mqtt/driver.ts')).driver

export const pubsubDrivers: DriverRow[] = [
  { type: 'pubsub.in-memory', versions: ['v1'], load: async () => (await import('./in-memory/driver.ts')).driver },
  { type: 'pubsub.jetstream', versions: ['v1'], load: async () => (await import('./jetstream/driver.ts')).driver },
  { type: 'pubsub.rabbitmq', versions: ['v1'], load: async () => (await import('./rabbitmq/driver.ts')).driver },
  { type: 'pubsub.kafka', versions: ['v1'], load: async () => (await import('./kafka/driver.ts')).driver },
  { type: 'pubsub.pulsar', versions: ['v1'], load: async () => (await import('./pulsar/driver.ts')).driver },
  { type: 'pubsub.mqtt3', versions: ['v1'], load: mqtt },
  { type: 'pubsub.mqtt', versions: ['v1'], load: mqtt },
  { type: 'pubsub.redis', versions: ['v1'], load: async () => (await import('./redis/driver.ts')).driver },
  { type: 'pubsub.aws.snssqs', versions: ['v1'], load: snssqs },
  { type: 'pubsub.snssqs', versions: ['v1'], load: snssqs },
  { type: 'pubsub.azure.servicebus.topics', versions: ['v1'], load: serviceBusTopics },
  { type: 'pubsub.azure.servicebus', versions: ['v1'], load: serviceBusTopics },
  { type: 'pubsub.azure.servicebus.queues', versions: ['v1'], load: serviceBusQueues },
  { type: 'pubsub.azure.servicebusqueues', versions: ['v1'], load: serviceBusQueues },
  { type: 'pubsub.azure.eventhubs', versions: ['v1'], load: async () => (await import('./azure-eventhubs/driver.ts')).driver },
  { type: 'pubsub.gcp.pubsub', versions: ['v1'], load: async () => (await import('./gcp/driver.ts')).driver },
  { type: 'pubsub.sqlite', versions: ['v1'], load: async () => (await import('./sqlite/driver.ts')).driver },
]

import type { PubSub } from '../../../blocks/pubsub/driver.ts'
import { queueFields } from '../../azure/servicebus/settings.ts'
import type { DriverModule } from '../../component.ts'
import { ServiceBusPubSub } from './driver.ts'

/** pubsub.azure.servicebus.queues */
export const driver: DriverModule<PubSub> = {
  summary: 'Azure Service Bus: a queue for each topic, which all consumers share.',
  metadata: queueFields,
  create: (context) => new ServiceBusPubSub(context, 'queues'),
}

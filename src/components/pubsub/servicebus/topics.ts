import type { PubSub } from '../../../blocks/pubsub/driver.ts'
import { topicFields } from '../../azure/servicebus/settings.ts'
import type { DriverModule } from '../../component.ts'
import { ServiceBusPubSub } from './driver.ts'

/** pubsub.azure.servicebus.topics */
export const driver: DriverModule<PubSub> = {
  summary: 'Azure Service Bus: a topic for each topic, a subscription of it for each consumer.',
  metadata: topicFields,
  create: (context) => new ServiceBusPubSub(context, 'topics'),
}

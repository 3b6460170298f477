import { connectionStringTo } from '../../../../test/servers/eventhubs.ts'
import type { RunningServer } from '../../../../test/servers/server.ts'
import type { PubSub } from '../../../blocks/pubsub/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { connectionTo } from '../../azure/testing.ts'
import { driver } from './driver.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })

/** How tests open a component on the stand-in, with its checkpoints on Azurite. */
export function opener(server: RunningServer | undefined, storage: RunningServer | undefined) {
  return async (appId: string, properties: Record<string, string> = {}): Promise<PubSub> => {
    const all = {
      connectionString: connectionStringTo(server?.address ?? 'amqp://127.0.0.1:1'),
      storageConnectionString: connectionTo(storage?.address ?? 'http://127.0.0.1:1'),
      storageContainerName: 'checkpoints',
      drainTimeout: '5s',
      ...properties,
    }
    const context = { name: 'events', type: 'pubsub.azure.eventhubs', version: 'v1', properties: all, appId, namespace: '', log }
    const pubsub = driver.create(context)
    try {
      await pubsub.init(AbortSignal.timeout(10_000))
    } catch (error) {
      await pubsub[Symbol.asyncDispose]()
      throw error
    }
    return pubsub
  }
}

import type { PubSubBlock } from '../../blocks/pubsub/block.ts'
import type { Logger } from '../../telemetry/log.ts'
import { DAPR, type GrpcMethods } from './method.ts'
import { EventStream } from './subscribe-stream.ts'

/** SubscribeTopicEventsAlpha1: subscriptions over streams that the app opens, so that it needs no port of its own. */
export function subscribeMethods(pubsub: Pick<PubSubBlock, 'stream' | 'closing'>, log: Logger): GrpcMethods {
  const idle = new Set<EventStream>()
  const scoped = log.scope('dapr.runtime.pubsub.streamer')
  // Those that have not asked for anything yet would hold the server open.
  pubsub.closing.addEventListener('abort', () => {
    for (const stream of idle) stream.close('api server closed')
  })
  return [
    [
      `${DAPR}SubscribeTopicEventsAlpha1`,
      {
        kind: 'stream',
        handle(call) {
          const stream = new EventStream(call, pubsub, scoped, () => idle.delete(stream))
          idle.add(stream)
        },
      },
    ],
  ]
}

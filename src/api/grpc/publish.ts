import type { Publisher } from '../../blocks/pubsub/publish.ts'
import { unary } from '../../transport/grpc/server.ts'
import { decodePublishEvent, encodeEmpty } from './messages.ts'
import { DAPR, type GrpcMethods } from './method.ts'

const TRACEPARENT = /^[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/

export function publishMethods(pubsub: Pick<Publisher, 'publish'>): GrpcMethods {
  return [
    [
      `${DAPR}PublishEvent`,
      unary(decodePublishEvent, encodeEmpty, async ({ pubsubName, topic, data, contentType, metadata }, call) => {
        const { traceparent, tracestate } = call.headers
        const trace =
          typeof traceparent === 'string' && TRACEPARENT.test(traceparent)
            ? { traceparent, tracestate: typeof tracestate === 'string' ? tracestate : '' }
            : undefined
        await pubsub.publish(
          { pubsubName, topic, data, contentType: contentType || undefined, metadata, wire: 'grpc', ...(trace ? { trace } : {}) },
          call.signal,
        )
      }),
    ],
  ]
}

import { createHash, timingSafeEqual } from 'node:crypto'
import type { MetadataBlock } from '../../blocks/metadata.ts'
import type { Publisher } from '../../blocks/pubsub/publish.ts'
import type { StateBlock } from '../../blocks/state/state.ts'
import { valueFromBytes } from '../../blocks/state/value.ts'
import { Code, errorInfo, OutriderError } from '../../errors.ts'
import { createGrpcServer, type GrpcMethod, type GrpcServer, unary } from '../../transport/grpc/server.ts'
import { decodeGetState, decodePublishEvent, decodeSaveState, encodeEmpty, encodeGetState } from './messages.ts'
import { encodeMetadata } from './metadata-message.ts'

export interface GrpcApiOptions {
  state: Pick<StateBlock, 'get' | 'save'>
  pubsub: Pick<Publisher, 'publish'>
  metadata: Pick<MetadataBlock, 'get'>
  /** Bytes of one request. Default 4 MiB. */
  maxMessageSize?: number
  /** Required as metadata `dapr-api-token` when not empty. */
  apiToken?: string | undefined
}

export type GrpcApi = GrpcServer

const TRACEPARENT = /^[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/
const SERVICE = '/dapr.proto.runtime.v1.Dapr/'

/** The gRPC API that the app calls: decodes, calls a block, encodes. */
export function createGrpcApi(options: GrpcApiOptions): GrpcApi {
  const { state, pubsub, metadata } = options
  const methods = new Map<string, GrpcMethod>()
  methods.set(
    `${SERVICE}GetState`,
    unary(decodeGetState, encodeGetState, async ({ storeName, key, consistency, metadata: own }, call) =>
      state.get(storeName, { key, consistency, metadata: own }, call.signal),
    ),
  )
  methods.set(
    `${SERVICE}SaveState`,
    unary(decodeSaveState, encodeEmpty, async ({ storeName, items }, call) => {
      await state.save(
        storeName,
        items.map((item) => ({ ...item, ...valueFromBytes(item.value, item.metadata) })),
        call.signal,
      )
    }),
  )
  methods.set(
    `${SERVICE}PublishEvent`,
    unary(decodePublishEvent, encodeEmpty, async ({ pubsubName, topic, data, contentType, metadata: own }, call) => {
      const { traceparent, tracestate } = call.headers
      const trace =
        typeof traceparent === 'string' && TRACEPARENT.test(traceparent)
          ? { traceparent, tracestate: typeof tracestate === 'string' ? tracestate : '' }
          : undefined
      await pubsub.publish(
        { pubsubName, topic, data, contentType: contentType || undefined, metadata: own, wire: 'grpc', ...(trace ? { trace } : {}) },
        call.signal,
      )
    }),
  )
  methods.set(
    `${SERVICE}GetMetadata`,
    unary(
      () => undefined,
      encodeMetadata,
      () => metadata.get(),
    ),
  )
  const token = options.apiToken ? digest(options.apiToken) : undefined
  return createGrpcServer({
    methods,
    maxMessageSize: options.maxMessageSize || 4 * 1024 * 1024,
    ...(token
      ? {
          admit(_, headers) {
            const given = headers['dapr-api-token']
            if (typeof given !== 'string' || !timingSafeEqual(digest(given), token)) {
              throw new OutriderError({
                code: 'ERR_UNAUTHENTICATED',
                http: 401,
                grpc: Code.Unauthenticated,
                message: 'Unauthorized',
                hint: 'send the value of DAPR_API_TOKEN as metadata dapr-api-token',
                details: [errorInfo('Unauthorized')],
              })
            }
          },
        }
      : {}),
    unknown(path) {
      const known = [...methods.keys()].map((method) => method.slice(SERVICE.length)).join(', ')
      throw new OutriderError({
        code: 'ERR_API_UNIMPLEMENTED',
        http: 501,
        grpc: Code.Unimplemented,
        message: `unknown method ${path}: this sidecar serves ${known} of dapr.proto.runtime.v1.Dapr over gRPC so far; the other APIs are on the HTTP port`,
        hint: 'use the HTTP API',
      })
    },
  })
}

/** Equal lengths for a comparison that takes the same time whatever was sent. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

import { createHash, timingSafeEqual } from 'node:crypto'
import { Code, errorInfo, OutriderError } from '../../errors.ts'
import { createGrpcServer, type GrpcServer, type GrpcServerOptions } from '../../transport/grpc/server.ts'
import { isHealth } from './health.ts'
import { DAPR, type GrpcMethods } from './method.ts'

export interface GrpcApiOptions {
  methods: GrpcMethods
  /** Takes methods of other services, to pass them on. Undefined from it: unimplemented. */
  proxy?: GrpcServerOptions['unknown']
  /** Bytes of one request. Default 4 MiB. */
  maxMessageSize?: number
  /** Required as metadata `dapr-api-token` when not empty. */
  apiToken?: string | undefined
}

export type GrpcApi = GrpcServer

/** The gRPC API that the app calls: decodes, calls a block, encodes. */
export function createGrpcApi(options: GrpcApiOptions): GrpcApi {
  const methods = new Map(options.methods)
  const token = options.apiToken ? digest(options.apiToken) : undefined
  return createGrpcServer({
    methods,
    maxMessageSize: options.maxMessageSize || 4 * 1024 * 1024,
    ...(token
      ? {
          admit(path, headers) {
            if (isHealth(path)) return
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
    unknown(path, headers) {
      const proxied = options.proxy?.(path, headers)
      if (proxied) return proxied
      const known = [...methods.keys()]
        .filter((method) => method.startsWith(DAPR))
        .map((method) => method.slice(DAPR.length))
        .join(', ')
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

import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { Code, OutriderError } from '../../errors.ts'
import { createGrpcServer, type GrpcCall, type GrpcMethod, type GrpcServer, type GrpcServerOptions } from '../../transport/grpc/server.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
import { encodeHint, HINT } from '../hint.ts'
import type { ApiRule } from '../http/allow.ts'
import { accessRules, apiGroup, refusal, UNTYPED } from './access.ts'
import { isHealth } from './health.ts'
import { DAPR, type GrpcMethods } from './method.ts'

/** One finished call, as API logging tells it. */
export type GrpcCallRecord = {
  /** e.g. `/dapr.proto.runtime.v1.Dapr/GetState`. */
  method: string
  useragent?: string
  code: Code
  /** Whole milliseconds. */
  duration: number
}

export interface GrpcApiOptions {
  methods: GrpcMethods
  /** Takes methods of other services, to pass them on. Undefined from it: unimplemented. */
  proxy?: GrpcServerOptions['unknown']
  /** Bytes of one request. Default 4 MiB. */
  maxMessageSize?: number
  /** Required as metadata `dapr-api-token` when not empty. */
  apiToken?: string | undefined
  /** `spec.api` of the Configuration; default: everything is open. */
  allowed?: readonly ApiRule[]
  denied?: readonly ApiRule[]
  /** Hears of each error with a code that a method answers with; `group` as in `spec.api`, undefined for other services. */
  onError?: (error: OutriderError, group: string | undefined, path: string) => void
  /** Hears of each call that a method took, when it is over. */
  onCall?: ((call: GrpcCallRecord) => void) | undefined
}

export type GrpcApi = GrpcServer

/**
 * The gRPC API that the app calls: decodes, calls a block, encodes. A call first passes the rules of `spec.api` and then
 * the API token, in Dapr's order; what they refuse is neither logged nor counted.
 */
export function createGrpcApi(options: GrpcApiOptions): GrpcApi {
  const { onCall, onError, proxy } = options
  // The moment each call under way began, kept only for API logging.
  const begun = new WeakMap<GrpcCall, number>()
  const timed = (method: GrpcMethod): GrpcMethod => {
    if (!onCall) return method
    const begin = (call: GrpcCall) => void begun.set(call, performance.now())
    if (method.kind === 'unary') {
      return {
        kind: 'unary',
        handle(request, call) {
          begin(call)
          return method.handle(request, call)
        },
      }
    }
    if (method.kind === 'raw') {
      return {
        kind: 'raw',
        handle(stream, headers, rawHeaders) {
          const since = performance.now()
          const agent = headers['user-agent']
          const over = (code: Code) =>
            onCall({
              method: headers[':path'] as string,
              ...(agent !== undefined && { useragent: agent }),
              code,
              duration: Math.trunc(performance.now() - since),
            })
          try {
            method.handle(stream, headers, rawHeaders)
          } catch (error) {
            over(GrpcStatus.from(error).code)
            throw error
          }
          stream.whenClosed(() => {
            const last = stream.last ?? []
            const code = Buffer.isBuffer(last) || !last.includes('grpc-status') ? Code.Canceled : last[last.indexOf('grpc-status') + 1]
            over(Number(code) as Code)
          })
        },
      }
    }
    return {
      kind: 'stream',
      handle(stream) {
        begin(stream)
        method.handle(stream)
      },
    }
  }
  const report = (call: GrpcCall, status: GrpcStatus | undefined) => {
    if (status?.cause instanceof OutriderError) {
      if (status.cause.hint) call.setTrailer(HINT, encodeHint(status.cause.hint))
      if (status.cause.code !== UNTYPED) onError?.(status.cause, apiGroup(call.path), call.path)
    }
    const since = onCall && begun.get(call)
    if (since !== undefined) {
      const agent = call.headers['user-agent']
      onCall?.({
        method: call.path,
        ...(agent !== undefined && { useragent: agent }),
        code: status?.code ?? Code.OK,
        duration: Math.trunc(performance.now() - since),
      })
    }
  }
  const rules = accessRules(options.allowed ?? [], options.denied ?? [])
  const token = options.apiToken ? tokenCheck(options.apiToken) : undefined
  return createGrpcServer({
    methods: new Map(options.methods.map(([path, method]) => [path, timed(method)])),
    maxMessageSize: options.maxMessageSize || 4 * 1024 * 1024,
    ended: report,
    ...((rules || token) && {
      admit: (path: string, headers: IncomingHttpHeaders) => {
        rules?.(path)
        if (!isHealth(path)) token?.(headers)
      },
    }),
    unknown(path, headers) {
      const method = proxy?.(path, headers)
      if (method) return timed(method)
      const service = path.slice(1, path.lastIndexOf('/'))
      throw new OutriderError({
        code: 'ERR_API_UNIMPLEMENTED',
        http: 501,
        grpc: Code.Unimplemented,
        message: `unknown ${path.startsWith(DAPR) ? `method ${path.slice(DAPR.length)} for ` : ''}service ${service}`,
        hint: 'check the name of the method against dapr.proto.runtime.v1.Dapr; a call to another app needs its id as metadata dapr-app-id',
      })
    },
  })
}

function tokenCheck(expected: string): (headers: IncomingHttpHeaders) => void {
  const token = digest(expected)
  return (headers) => {
    const given = headers['dapr-api-token']
    if (typeof given === 'string' && timingSafeEqual(digest(given), token)) return
    const detail = given === undefined ? 'missing api token in request metadata' : 'authentication error: api token mismatch'
    throw refusal(401, Code.Unauthenticated, 'Unauthorized', detail, 'send the value of DAPR_API_TOKEN as metadata dapr-api-token')
  }
}

/** Equal lengths for a comparison that takes the same time whatever was sent. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { Code, OutriderError } from '../../errors.ts'
import { createGrpcServer, type GrpcCall, type GrpcMethod, type GrpcServer, type GrpcServerOptions } from '../../transport/grpc/server.ts'
import type { GrpcStatus } from '../../transport/grpc/status.ts'
import { encodeHint, HINT } from '../hint.ts'
import type { ApiRule } from '../http/allow.ts'
import { accessRules, apiGroup, refusal, UNTYPED } from './access.ts'
import { isHealth } from './health.ts'
import { DAPR, type GrpcMethods } from './method.ts'

/** One finished call, as API logging and metrics tell it. */
export interface GrpcCallRecord {
  /** e.g. `/dapr.proto.runtime.v1.Dapr/GetState`. */
  method: string
  useragent?: string
  code: Code
  /** Bytes of a unary call's message; undefined: a stream. */
  received: number | undefined
  /** Bytes of a unary call's reply. */
  sent: number
  /** Milliseconds. */
  elapsed: number
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
  const told = (headers: IncomingHttpHeaders, code: Code, usage: Pick<GrpcCallRecord, 'received' | 'sent'>, began: number) => {
    const agent = headers['user-agent']
    onCall?.({
      method: headers[':path'] as string,
      ...(agent !== undefined && { useragent: agent }),
      code,
      ...usage,
      elapsed: performance.now() - began,
    })
  }
  /** A proxied call is the handler's from its first byte on: what became of it shows in its last headers. */
  const watched = (method: GrpcMethod): GrpcMethod => {
    if (!onCall || method.kind !== 'raw') return method
    return {
      kind: 'raw',
      handle(stream, headers, rawHeaders, peer) {
        const began = performance.now()
        method.handle(stream, headers, rawHeaders, peer)
        stream.whenClosed(() => {
          const last = stream.last ?? []
          const code = Buffer.isBuffer(last) || !last.includes('grpc-status') ? Code.Canceled : last[last.indexOf('grpc-status') + 1]
          told(headers, Number(code) as Code, { received: undefined, sent: 0 }, began)
        })
      },
    }
  }
  const report = (call: GrpcCall, status: GrpcStatus | undefined, sent: number) => {
    if (status?.cause instanceof OutriderError) {
      if (status.cause.hint) call.setTrailer(HINT, encodeHint(status.cause.hint))
      if (status.cause.code !== UNTYPED) onError?.(status.cause, apiGroup(call.path), call.path)
    }
    // Who is refused at the door has made no call.
    if (call.kind) told(call.headers, status?.code ?? Code.OK, { received: call.received, sent }, call.began)
  }
  const rules = accessRules(options.allowed ?? [], options.denied ?? [])
  const token = options.apiToken ? tokenCheck(options.apiToken) : undefined
  return createGrpcServer({
    methods: new Map(options.methods),
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
      if (method) return watched(method)
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

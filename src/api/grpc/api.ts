import type { IncomingHttpHeaders } from 'node:http'
import { Code, OutriderError } from '../../errors.ts'
import { baggageProblem } from '../../telemetry/tracing/baggage.ts'
import type { Tracer } from '../../telemetry/tracing/tracer.ts'
import {
  createGrpcServer,
  type GrpcCall,
  type GrpcMethod,
  type GrpcServer,
  type GrpcServerOptions,
  type GrpcStream,
} from '../../transport/grpc/server.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
import { type ApiTokens, tokenMatcher } from '../api-token.ts'
import { encodeHint, HINT } from '../hint.ts'
import type { ApiRule } from '../http/allow.ts'
import { accessRules, apiGroup, refusal, UNTYPED } from './access.ts'
import { isHealth } from './health.ts'
import { DAPR, type GrpcMethods } from './method.ts'
import { describeRequest, endSpan, startSpan } from './span.ts'

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
  /** Bounds what all calls hold together; absent: nothing does. */
  bodies?: GrpcServerOptions['bodies']
  /** Required as metadata `dapr-api-token` when not empty. */
  apiToken?: ApiTokens | undefined
  /** `spec.api` of the Configuration; default: everything is open. */
  allowed?: readonly ApiRule[]
  denied?: readonly ApiRule[]
  /** Hears of each error with a code that a method answers with; `group` as in `spec.api`, undefined for other services. */
  onError?: (error: OutriderError, group: string | undefined, path: string) => void
  /** Makes a span of each call; absent: nobody traces. */
  tracer?: Tracer | undefined
  /** Whether `baggage` is looked at: checked, and given back. Default false. */
  baggage?: boolean
  /** Hears of each call that a method took, when it is over. */
  onCall?: ((call: GrpcCallRecord) => void) | undefined
}

export type GrpcApi = GrpcServer

/**
 * The gRPC API that the app calls: decodes, calls a block, encodes. A call first passes the rules of `spec.api` and then
 * the API token, in Dapr's order; what they refuse is neither logged nor counted.
 */
export function createGrpcApi(options: GrpcApiOptions): GrpcApi {
  const { onCall, onError, proxy, tracer } = options
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
  const began = (path: string, call: GrpcCall, tracer: Tracer) => {
    call.span = startSpan(tracer, path, call)
    if (path !== `${DAPR}InvokeService`) call.setHeader('grpc-trace-bin', call.headers['grpc-trace-bin'] as string)
    return call.span
  }
  const traced = (path: string, method: GrpcMethod): GrpcMethod => {
    if (!tracer || isHealth(path)) return method
    if (method.kind === 'unary') {
      return {
        ...method,
        handle(request: Buffer, call: GrpcCall) {
          const span = began(path, call, tracer)
          describeRequest(span, path, request)
          return tracer.current.within(span, () => method.handle(request, call))
        },
      }
    }
    if (method.kind !== 'stream') return method
    return {
      ...method,
      handle(stream: GrpcStream) {
        tracer.current.within(began(path, stream, tracer), () => method.handle(stream))
      },
    }
  }
  /** A proxied call is the handler's from its first byte on: what became of it shows in its last headers. */
  const watched = (path: string, method: GrpcMethod): GrpcMethod => {
    if (method.kind !== 'raw') return traced(path, method)
    if (!onCall) return method
    return {
      kind: 'raw',
      handle(stream, headers, rawHeaders, peer) {
        const since = performance.now()
        const over = (code: Code) => told(headers, code, { received: undefined, sent: 0 }, since)
        try {
          method.handle(stream, headers, rawHeaders, peer)
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
  const report = (call: GrpcCall, status: GrpcStatus | undefined, sent: number) => {
    if (status?.cause instanceof OutriderError) {
      if (status.cause.hint) call.setTrailer(HINT, encodeHint(status.cause.hint))
      if (status.cause.code !== UNTYPED) onError?.(status.cause, apiGroup(call.path), call.path)
    }
    if (call.span) endSpan(call.span, call.path, call.headers, status?.code ?? Code.OK, status?.message)
    // Who is refused at the door has made no call.
    if (call.kind) told(call.headers, status?.code ?? Code.OK, { received: call.received, sent }, call.began)
  }
  const rules = accessRules(options.allowed ?? [], options.denied ?? [])
  const token = tokenCheck(options.apiToken)
  return createGrpcServer({
    methods: new Map(options.methods.map(([path, method]) => [path, traced(path, method)])),
    maxMessageSize: options.maxMessageSize || 4 * 1024 * 1024,
    bodies: options.bodies,
    ended: report,
    ...((rules || token || options.baggage) && {
      admit: (call: GrpcCall) => {
        rules?.(call.path)
        if (isHealth(call.path)) return
        token?.(call.headers)
        if (options.baggage && call.headers.baggage !== undefined) passBaggage(call)
      },
    }),
    unknown(path, headers) {
      const method = proxy?.(path, headers)
      if (method) return watched(path, method)
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

/** Valid baggage is given back, as it came. */
function passBaggage(call: GrpcCall): void {
  const baggage = String(call.headers.baggage)
  const problem = baggageProblem(baggage)
  if (problem) throw new GrpcStatus(Code.InvalidArgument, `invalid baggage header: ${problem}`)
  call.setHeader('baggage', baggage)
}

function tokenCheck(expected: ApiTokens | undefined): ((headers: IncomingHttpHeaders) => void) | undefined {
  const matches = tokenMatcher(expected)
  return (
    matches &&
    ((headers) => {
      const given = headers['dapr-api-token']
      if (matches(given)) return
      const detail = given === undefined ? 'missing api token in request metadata' : 'authentication error: api token mismatch'
      throw refusal(401, Code.Unauthenticated, 'Unauthorized', detail, 'send the value of DAPR_API_TOKEN as metadata dapr-api-token')
    })
  )
}

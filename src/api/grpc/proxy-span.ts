import type { Tracer } from '../../telemetry/tracing/tracer.ts'
import type { GrpcMethod } from '../../transport/grpc/server.ts'
import { decodeGrpcMessage, GrpcStatus } from '../../transport/grpc/status.ts'
import { nameAttributes, startSpan } from './span.ts'

/** Gives each call that a proxy passes on a span below the caller's, above whatever comes next. `appId`: of the app beside us. */
export function tracedProxy(method: GrpcMethod, tracer: Tracer | undefined, appId: string): GrpcMethod {
  if (!tracer || method.kind !== 'raw') return method
  return {
    kind: 'raw',
    handle(stream, headers, rawHeaders, peer) {
      const target = headers['dapr-callee-app-id'] ?? headers['dapr-app-id']
      // A call to nobody is refused, and no step of any trace.
      if (target === undefined) return method.handle(stream, headers, rawHeaders, peer)
      const span = startSpan(tracer, headers[':path'] as string, { headers, rawHeaders }, target === appId ? 'server' : 'client')
      nameAttributes(span, headers)
      try {
        tracer.current.within(span, () => method.handle(stream, headers, rawHeaders, peer))
      } catch (error) {
        span.end(GrpcStatus.from(error).message)
        throw error
      }
      stream.whenClosed(() => span.end(failureOf(stream.last)))
    },
  }
}

/** What the fields that ended a reply say went wrong; undefined: nothing. */
function failureOf(last: Buffer | readonly unknown[] | undefined): string | undefined {
  if (!last || Buffer.isBuffer(last)) return 'context canceled'
  const field = (name: string) => {
    const at = last.indexOf(name)
    return at < 0 ? undefined : String(last[at + 1])
  }
  const status = field('grpc-status')
  return status === '0' ? undefined : decodeGrpcMessage(field('grpc-message') ?? (status === undefined ? 'context canceled' : ''))
}

import type { Trace } from '../../blocks/pubsub/cloud-event.ts'
import { fromTraceBin } from '../../telemetry/trace-bin.ts'
import type { GrpcCall } from '../../transport/grpc/server.ts'

const TRACEPARENT = /^[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/

/** The caller's trace, in gRPC's own header or in W3C's; undefined when it carries none. */
export function traceOf({ headers }: Pick<GrpcCall, 'headers'>): Trace | undefined {
  const binary = headers['grpc-trace-bin']
  if (typeof binary === 'string') {
    const traceparent = fromTraceBin(binary)
    return traceparent === undefined ? undefined : { traceparent, tracestate: '' }
  }
  const { traceparent, tracestate } = headers
  return typeof traceparent === 'string' && TRACEPARENT.test(traceparent)
    ? { traceparent, tracestate: typeof tracestate === 'string' ? tracestate : '' }
    : undefined
}

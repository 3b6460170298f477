import type { IncomingHttpHeaders } from 'node:http2'
import { type BindingsBlock, responseOf } from '../../blocks/bindings/block.ts'
import { NO_TRACEPARENT } from '../../telemetry/trace-context.ts'
import type { GrpcCall } from '../../transport/grpc/server.ts'
import { InvokeBindingRequest, InvokeBindingResponse } from './bindings-messages.ts'
import { daprUnary, type GrpcMethods } from './method.ts'

/** Output bindings over gRPC. */
export function bindingMethods(block: Pick<BindingsBlock, 'invoke'>): GrpcMethods {
  return [
    daprUnary('InvokeBinding', InvokeBindingRequest, InvokeBindingResponse, async ({ name, data, metadata, operation }, call) => {
      const request = { operation, data, metadata: withCallMetadata(metadata, call.headers) }
      try {
        const response = await block.invoke(name, request, call.signal)
        setMetadata(call, response?.metadata)
        return { data: response?.data, metadata: response?.metadata }
      } catch (error) {
        // Some components answer although they failed, e.g. with the status of an HTTP 500.
        setMetadata(call, responseOf(error)?.metadata)
        throw error
      }
    }),
  ]
}

/** What HTTP/2 and gRPC themselves say with a call, and whose it is to know. */
const OWN = new Set([':method', ':path', ':scheme', 'te', 'grpc-encoding', 'grpc-timeout', 'dapr-api-token'])

/** The call's metadata goes to the binding where the request names nothing of its own; the trace is always the call's. */
function withCallMetadata(given: Readonly<Record<string, string>>, headers: IncomingHttpHeaders): Record<string, string> {
  const metadata: Record<string, string> = { ...given }
  for (const [name, value] of Object.entries(headers)) {
    const text = Array.isArray(value) ? value[0] : value
    if (OWN.has(name) || text === undefined) continue
    const key = name.startsWith(':') ? `dapr-${name.slice(1)}` : name.startsWith('grpc-') ? `dapr-${name}` : name
    if (!Object.hasOwn(metadata, key) || key === 'traceparent' || key === 'tracestate') metadata[key] = text
  }
  metadata.traceparent ??= NO_TRACEPARENT
  return metadata
}

/** As `metadata.<name>` in the reply's headers, which also reach a client whose call failed. */
function setMetadata(call: GrpcCall, metadata: Readonly<Record<string, string>> | undefined): void {
  for (const [name, value] of Object.entries(metadata ?? {})) {
    const key = `metadata.${name}`.toLowerCase()
    if (/^[0-9a-z_.-]+$/.test(key) && !key.endsWith('-bin')) call.setHeader(key, value.replace(/[^\x20-\x7e]/g, ' '))
  }
}

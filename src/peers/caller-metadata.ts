import { fromTraceBin } from '../telemetry/trace-bin.ts'
import { NO_TRACEPARENT } from '../telemetry/trace-context.ts'
import { headerOf } from './headers.ts'

/**
 * Names that end at this sidecar: gRPC's own, the caller's secret, and those only a sidecar may set. A `content-length` is among
 * them, which some clients send: it counts gRPC's frames, and an app would wait for bytes that its body does not have.
 */
const ENDED = new Set(
  (
    ':method :path :scheme :status te content-length grpc-timeout grpc-encoding grpc-message grpc-status grpc-message-type ' +
    'grpc-status-details-bin dapr-api-token dapr-app-id destination-app-id dapr-caller-app-id dapr-caller-namespace dapr-callee-app-id'
  ).split(' '),
)

/** The metadata of a gRPC caller as it travels between sidecars: binary values in padded Base64, and a trace in any case. */
export function callerMetadata(raw: readonly string[]): string[] {
  const metadata: string[] = []
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string
    if (ENDED.has(name)) continue
    const value = raw[i + 1] as string
    metadata.push(name, name.endsWith('-bin') ? padded(value) : value)
  }
  if (headerOf(metadata, 'traceparent') === undefined) {
    const binary = headerOf(metadata, 'grpc-trace-bin')
    metadata.push('traceparent', (binary && fromTraceBin(binary)) || NO_TRACEPARENT)
  }
  return metadata
}

function padded(base64: string): string {
  const missing = -base64.length & 3
  return missing === 0 ? base64 : base64 + '='.repeat(missing)
}

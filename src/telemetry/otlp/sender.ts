import { createGrpcClient } from '../../transport/grpc/client.ts'
import { postBytes } from '../tracing/post.ts'

export interface OtlpEndpoint {
  /** host:port; over HTTP a path may follow, else it is that of the signal. */
  endpoint: string
  protocol: 'http' | 'grpc'
  secure: boolean
  headers: Readonly<Record<string, string>>
  /** Milliseconds for one request. Default 10,000. */
  timeout?: number | undefined
}

/** What is sent where: the path over HTTP, the method over gRPC. */
export interface OtlpSignal {
  path: string
  method: string
}

export interface OtlpSender {
  /** Rejects when the collector cannot be reached, is late, or refuses; the message begins with the endpoint. */
  send(request: Buffer): Promise<void>
  close(): Promise<void>
}

/** Sends one kind of export requests to an OpenTelemetry collector. */
export function otlpSender({ endpoint, protocol, secure, headers, timeout = 10_000 }: OtlpEndpoint, signal: OtlpSignal): OtlpSender {
  if (protocol === 'http') {
    const slash = endpoint.indexOf('/')
    const url = `${secure ? 'https' : 'http'}://${slash < 0 ? endpoint + signal.path : endpoint}`
    return {
      send: (request) => postBytes(url, request, { ...headers, 'content-type': 'application/x-protobuf' }, timeout),
      async close() {},
    }
  }
  const client = createGrpcClient({ ...(secure && { tls: { ALPNProtocols: ['h2'] } }) })
  const metadata = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
  return {
    async send(request) {
      try {
        await client.unary(endpoint, signal.method, request, { headers: metadata, timeout })
      } catch (error) {
        throw new Error(`${endpoint}: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
      }
    },
    async close() {
      await client[Symbol.asyncDispose]()
    },
  }
}

import type { ResponseSource } from '../app/response-sink.ts'
import { Code } from '../errors.ts'
import { createGrpcServer, type GrpcMethod, type GrpcServerOptions, type MutualTls } from '../transport/grpc/server.ts'
import { GrpcStatus } from '../transport/grpc/status.ts'
import { ProtoReader } from '../transport/grpc/wire.ts'
import type { Ports } from '../transport/ports.ts'
import { admit, appFailure, type CalleeOptions, DEFAULT_LIMIT, parse, toApp } from './admitted.ts'
import { responseHeaders } from './headers.ts'
import { CALL_LOCAL, CALL_LOCAL_STREAM, decodeRequest, encodeResponse, type OutgoingResponse } from './messages.ts'
import { StreamedCall } from './streamed-call.ts'

export interface PeerServerOptions extends CalleeOptions {
  /** Default 0.0.0.0, as daprd. */
  host?: string
  port: number
  namespace: string
  /** Further methods: CallActor and its like. */
  methods?: ReadonlyMap<string, GrpcMethod>
  unknown?: GrpcServerOptions['unknown']
  /** Admits only whom it identifies. Default: cleartext, whoever comes. */
  mutual?: MutualTls | undefined
  /** Where cleartext connections come from. Default: a socket of its own. */
  ports?: Ports | undefined
}

export interface PeerServer {
  readonly port: number
  /** Calls that came so far. */
  readonly calls: number
  /** Takes no new calls and lets those under way finish, at most `grace` milliseconds. */
  close(grace: number): Promise<void>
}

/** Serves other sidecars: dapr.proto.internals.v1.ServiceInvocation on the internal port. */
export async function createPeerServer(options: PeerServerOptions): Promise<PeerServer> {
  const limit = options.maxMessageSize || DEFAULT_LIMIT
  const methods = new Map<string, GrpcMethod>(options.methods)
  methods.set(CALL_LOCAL_STREAM, { kind: 'stream', handle: (stream) => new StreamedCall(options, stream) })
  methods.set(CALL_LOCAL, {
    kind: 'unary',
    handle: (message, call) =>
      new Promise((resolve, reject) => {
        const request = parse(() => decodeRequest(new ProtoReader(message)))
        const admitted = admit(options, request, call)
        const { app, invocation } = admitted
        invocation.body = request.data.length > 0 ? request.data : undefined
        const chunks: Buffer[] = []
        let size = 0
        let reply: OutgoingResponse = { status: 0, headers: {}, answer: undefined }
        let from: ResponseSource | undefined
        const cancel = toApp(options, admitted, CALL_LOCAL)(app, invocation, limit, {
          head(status, headers, source, answer) {
            reply = { status, headers: answer ? headers : responseHeaders(headers, false), answer }
            from = source
          },
          data(chunk) {
            size += chunk.length
            if (size <= limit) return void chunks.push(chunk)
            from?.abort()
            reject(new GrpcStatus(Code.ResourceExhausted, `the app's reply is larger than ${limit} bytes: call it with CallLocalStream`))
          },
          end: () => resolve(encodeResponse(reply, Buffer.concat(chunks))),
          failed: (error) => reject(appFailure(error)),
        })
        call.signal.addEventListener('abort', () => cancel(), { once: true })
      }),
  })
  const server = createGrpcServer({ methods, maxMessageSize: limit, ...(options.unknown ? { unknown: options.unknown } : {}) })
  const at = { host: options.host === '' ? undefined : (options.host ?? '0.0.0.0'), port: options.port }
  const { ports } = options
  const listening = ports && !options.mutual ? await ports.listen(at, (socket) => server.accept(socket)) : undefined
  const port = listening?.port ?? (await server.listen({ ...at, mutual: options.mutual }))
  return {
    port,
    get calls() {
      return server.calls
    },
    close(grace) {
      listening?.close()
      return server.close(grace)
    },
  }
}

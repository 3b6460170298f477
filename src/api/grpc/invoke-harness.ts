import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { App } from '../../app/app.ts'
import { createGrpcChannel } from '../../app/grpc-channel.ts'
import { createHttpChannel } from '../../app/http-channel.ts'
import { createInvokeBlock } from '../../blocks/invoke/block.ts'
import { appUnderPolicy } from '../../blocks/invoke/inbound.ts'
import { createGrpcProxy } from '../../blocks/invoke/proxy.ts'
import { createPeerClient } from '../../peers/client.ts'
import type { Address } from '../../peers/resolver.ts'
import type { Balancer } from '../../peers/resolver-balancer.ts'
import { createPeerServer, type PeerServer } from '../../peers/server.ts'
import type { CallPolicies, Resiliency } from '../../policy/resiliency.ts'
import { parseRetry } from '../../policy/retry.ts'
import type { InboundPolicies } from '../../policy/traffic/inbound.ts'
import { createGrpcClient } from '../../transport/grpc/client.ts'
import { createGrpcServer, type GrpcMethod, type GrpcServer } from '../../transport/grpc/server.ts'
import { invokeHandler } from '../http/routes/invoke.ts'
import { HttpApi } from '../http/server.ts'
import { createGrpcApi, type GrpcApi } from './api.ts'
import { invokeMethods } from './invoke.ts'

/** One app with its sidecar: both of its ports, over real sockets. */
export interface HarnessSidecar extends AsyncDisposable {
  readonly app: App | undefined
  readonly http: number
  /** `host:port` of the gRPC API. */
  readonly grpc: string
  readonly internal: Address
  /** Ends the internal port. */
  leave(): Promise<void>
  /** Opens it again, elsewhere. */
  come(): Promise<void>
}

export interface HarnessOptions {
  appId: string
  app?: App | undefined
  /** Where the sidecars are, by app id; read at every call. */
  addresses: Map<string, Address[]>
  limit?: number
  apiToken?: string
  policies?: Resiliency
  /** Our own policies: of calls to others, in place of `policies`, and of calls of others. */
  traffic?: { calls?: CallPolicies; inbound?: InboundPolicies | undefined }
  balancer?: Balancer
}

/** For tests: a sidecar that invokes and is invoked, finding others in `addresses`. */
export async function startSidecar(options: HarnessOptions): Promise<HarnessSidecar> {
  const { appId, app, addresses } = options
  const limit = options.limit ?? 4 * 1024 * 1024
  const namespace = 'default'
  const grpc = createGrpcClient({ maxMessageSize: limit })
  const resolver = { resolve: (id: string) => addresses.get(id) ?? [], invalidate() {}, balancer: options.balancer }
  const inbound = options.traffic?.inbound
  const peers = createPeerClient({ appId, namespace, hostAddress: '127.0.0.1', grpc })
  const policies = options.traffic?.calls ?? (options.policies?.coversApps ? options.policies : undefined)
  const block = createInvokeBlock({
    policies,
    appId,
    namespace,
    app,
    peers,
    resolver,
    retry: parseRetry('test', { duration: '10ms', maxRetries: 3 }),
    maxBodySize: limit,
  })
  const proxy = createGrpcProxy({ appId, namespace, app, grpc, resolver, maxMessageSize: limit, policies, inbound })
  const api: GrpcApi = createGrpcApi({
    methods: invokeMethods(block, { maxMessageSize: limit }),
    proxy: () => proxy.fromApp,
    maxMessageSize: limit,
    apiToken: options.apiToken,
  })
  const http = new HttpApi({
    routes: [],
    fallback: invokeHandler(block, { maxBodySize: limit }),
    maxBodySize: limit,
    readBufferSize: 8192,
    h2c: true,
  })
  const httpPort = await http.listen({ host: '127.0.0.1', port: 0 })
  const grpcPort = await api.listen({ host: '127.0.0.1', port: 0 })
  let server: PeerServer | undefined
  const internal: Address = { host: '127.0.0.1', port: 0 }
  const sidecar: HarnessSidecar = {
    app,
    http: httpPort,
    grpc: `127.0.0.1:${grpcPort}`,
    internal,
    async leave() {
      await server?.close(0)
      server = undefined
    },
    async come() {
      server = await createPeerServer({
        host: '127.0.0.1',
        port: 0,
        app,
        appId,
        namespace,
        maxMessageSize: limit,
        unknown: () => proxy.fromPeer,
        inbound: inbound && appUnderPolicy(inbound),
      })
      internal.port = server.port
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([http.close(0), api.close(0), server?.close(0)])
      await grpc[Symbol.asyncDispose]()
    },
  }
  await sidecar.come()
  addresses.set(appId, [internal])
  return sidecar
}

/** An app as its sidecar sees it, and how it ends. */
export interface HarnessApp extends AsyncDisposable {
  readonly app: App
  readonly port: number
}

export async function httpApp(listener: RequestListener): Promise<HarnessApp> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const channel = createHttpChannel({ port, token: 'app-token' })
  return {
    app: { wire: 'http', channel },
    port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await channel[Symbol.asyncDispose]()
    },
  }
}

export interface GrpcAppOptions {
  maxConcurrency?: number
  port?: number
  maxStreams?: number
}

export interface HarnessGrpcApp extends HarnessApp {
  /** Ends the server and starts it again on its port. */
  stop(): Promise<void>
  start(): Promise<void>
}

export async function grpcApp(methods: Readonly<Record<string, GrpcMethod>>, options: GrpcAppOptions = {}): Promise<HarnessGrpcApp> {
  const serve = () =>
    createGrpcServer({
      methods: new Map(Object.entries(methods)),
      maxMessageSize: 64 * 1024 * 1024,
      ...(options.maxStreams ? { maxStreams: options.maxStreams } : {}),
    })
  let server: GrpcServer = serve()
  const port = await server.listen({ host: '127.0.0.1', port: 0 })
  const channel = createGrpcChannel({
    port,
    token: 'app-token',
    ...(options.maxConcurrency ? { maxConcurrency: options.maxConcurrency } : {}),
  })
  return {
    app: { wire: 'grpc', channel },
    port,
    stop: () => server.close(0),
    async start() {
      server = serve()
      await server.listen({ host: '127.0.0.1', port })
    },
    async [Symbol.asyncDispose]() {
      await channel[Symbol.asyncDispose]()
      await server.close(0)
    },
  }
}

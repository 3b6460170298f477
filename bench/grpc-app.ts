import { createGrpcServer } from '../src/transport/grpc/server.ts'

// The gRPC app behind the sidecars: answers OnInvoke with the data "ok", and every other method with what it was sent.
// Its own process, so that its cost is not counted. Prints its port.
const ok = Buffer.from([10, 4, 18, 2, 111, 107])
const server = createGrpcServer({
  methods: new Map([['/dapr.proto.runtime.v1.AppCallback/OnInvoke', { kind: 'unary', handle: () => ok }]]),
  unknown: (path) => (path.startsWith('/bench.') ? { kind: 'unary', handle: (message) => message } : undefined),
})
console.log(await server.listen({ host: '127.0.0.1', port: 0 }))
process.stdin.once('end', () => process.exit(0)).resume()

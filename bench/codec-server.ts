import { createServer, type ServerHttp2Stream } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { createGrpcServer } from '../src/transport/grpc/server.ts'

/** A unary echo, by what the first argument names: `ours` or a `bare` node:http2 handler. Answers `cpu` by IPC. */
const path = '/bench.Echo/Echo'
let port: number
if (process.argv[2] === 'ours') {
  const server = createGrpcServer({ methods: new Map([[path, { kind: 'unary', handle: (request) => request }]]) })
  port = await server.listen({ host: '127.0.0.1', port: 0 })
} else {
  const server = createServer()
  server.on('stream', (stream: ServerHttp2Stream) => {
    const chunks: Buffer[] = []
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    stream.on('end', () => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
      stream.end(Buffer.concat(chunks))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  port = (server.address() as AddressInfo).port
}
process.on('message', () => {
  const { user, system } = process.cpuUsage()
  process.send?.({ cpu: user + system })
})
process.on('disconnect', () => process.exit(0))
process.send?.({ port })

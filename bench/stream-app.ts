import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { frame } from '../src/transport/grpc/frames.ts'
import { createGrpcServer, type GrpcStream } from '../src/transport/grpc/server.ts'

// The app behind the sidecars of streams.ts, in a process of its own: sends and swallows as many bytes as it is asked for.
// HTTP: GET /down?bytes=N, POST /up. gRPC: /bench.Stream/Down takes N as text, /bench.Stream/Up; both in messages of MESSAGE bytes.
// Prints its two ports.
const MESSAGE = 65_536
const piece = Buffer.alloc(MESSAGE, 'x')
const framed = frame(piece)

const http = createServer((request, response) => {
  const url = new URL(request.url ?? '/', 'http://app')
  if (url.pathname.startsWith('/dapr/')) return void response.writeHead(404).end()
  if (url.pathname === '/down') {
    request.resume()
    let left = Number(url.searchParams.get('bytes'))
    response.setHeader('content-type', 'application/octet-stream')
    const go = () => {
      while (left > 0) {
        const size = Math.min(left, MESSAGE)
        left -= size
        if (!response.write(size === MESSAGE ? piece : piece.subarray(0, size))) return void response.once('drain', go)
      }
      response.end()
    }
    return go()
  }
  let received = 0
  request.on('data', (chunk: Buffer) => {
    received += chunk.length
  })
  request.on('end', () => response.end(String(received)))
})
http.listen(0, '127.0.0.1', async () => {
  const grpc = createGrpcServer({
    maxMessageSize: 2 ** 30,
    methods: new Map([
      ['/bench.Stream/Down', { kind: 'stream', handle: down }],
      ['/bench.Stream/Up', { kind: 'stream', handle: up }],
    ]),
  })
  console.log(`${(http.address() as AddressInfo).port} ${await grpc.listen({ host: '127.0.0.1', port: 0 })}`)
})
process.stdin.once('end', () => process.exit(0)).resume()

function down(stream: GrpcStream): void {
  stream.onMessage = (message) => {
    let left = Number(message.toString())
    const go = () => {
      while (left > 0) {
        left -= MESSAGE
        if (!stream.write(framed)) return
      }
      stream.end()
    }
    stream.onDrain = go
    go()
  }
}

function up(stream: GrpcStream): void {
  let received = 0
  stream.onMessage = (message) => {
    received += message.length
  }
  stream.onEnd = () => stream.end(frame(Buffer.from(String(received))))
}

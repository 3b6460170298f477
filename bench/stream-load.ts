import { request } from 'node:http'
import { createGrpcClient } from '../src/transport/grpc/client.ts'
import { frame } from '../src/transport/grpc/frames.ts'

/** The client of streams.ts, in a process of its own. Takes a Transfer by IPC and answers with the milliseconds that it took. */
export interface Transfer {
  wire: 'http' | 'grpc'
  direction: 'down' | 'up'
  port: number
  /** App id of the second sidecar. */
  callee: string
  bytes: number
}

const MESSAGE = 65_536
const piece = Buffer.alloc(MESSAGE, 'x')
const framed = frame(piece)

process.on('message', (transfer: Transfer) => {
  const began = performance.now()
  const run = transfer.wire === 'http' ? overHttp(transfer) : overGrpc(transfer)
  run.then(
    (received) =>
      process.send?.(
        received === transfer.bytes ? { milliseconds: performance.now() - began } : { error: `${received} of ${transfer.bytes} bytes` },
      ),
    (error: unknown) => process.send?.({ error: String(error) }),
  )
})
process.on('disconnect', () => process.exit(0))

/** The bytes that came, or that the app says it got. */
function overHttp({ direction, port, bytes, callee }: Transfer): Promise<number> {
  return new Promise((resolve, reject) => {
    const path = `/v1.0/invoke/${callee}/method/${direction}${direction === 'down' ? `?bytes=${bytes}` : ''}`
    const headers = direction === 'up' ? { 'content-type': 'application/octet-stream', 'content-length': bytes } : {}
    const call = request({ host: '127.0.0.1', port, path, method: direction === 'up' ? 'POST' : 'GET', headers }, (response) => {
      let received = 0
      let text = ''
      response.on('data', (chunk: Buffer) => {
        received += chunk.length
        if (received < 1000) text += chunk
      })
      response.on('end', () => {
        if (response.statusCode !== 200) reject(new Error(`${response.statusCode} ${text}`))
        else resolve(direction === 'up' ? Number(text) : received)
      })
      response.on('error', reject)
    })
    call.on('error', reject)
    let left = direction === 'up' ? bytes : 0
    const go = () => {
      while (left > 0) {
        const size = Math.min(left, MESSAGE)
        left -= size
        if (!call.write(size === MESSAGE ? piece : piece.subarray(0, size))) return void call.once('drain', go)
      }
      call.end()
    }
    go()
  })
}

async function overGrpc({ direction, port, bytes, callee }: Transfer): Promise<number> {
  await using client = createGrpcClient({ maxMessageSize: 2 ** 30 })
  return await new Promise((resolve, reject) => {
    let received = 0
    let text = ''
    let left = bytes
    const go = () => {
      while (left > 0) {
        left -= MESSAGE
        if (!stream.write(framed)) return
      }
      stream.end()
    }
    const path = `/bench.Stream/${direction === 'up' ? 'Up' : 'Down'}`
    const stream = client.stream(
      `127.0.0.1:${port}`,
      path,
      { headers: { 'dapr-app-id': callee } },
      {
        onMessage(message) {
          received += message.length
          if (direction === 'up') text = message.toString()
        },
        onClose: (status) => (status ? reject(status) : resolve(direction === 'up' ? Number(text) : received)),
        onDrain: () => direction === 'up' && go(),
      },
    )
    if (direction === 'up') go()
    else stream.end(frame(Buffer.from(String(bytes))))
  })
}

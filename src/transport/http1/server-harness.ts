import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { BadRequest } from './incoming-head.ts'
import { ServerConnection, type ServerConnectionOptions } from './server-connection.ts'
import type { ServerExchange } from './server-exchange.ts'

export interface Seen {
  method: string
  target: string
  host: string
  fields: readonly string[]
  body: string
}

/** For tests: a server of these connections; `serve` gets each request when it is whole, unless it has been `early`. */
export async function httpServer(
  serve: (exchange: ServerExchange, seen: Seen) => void = (exchange, seen) => answerWith(exchange, JSON.stringify(seen)),
  options: Partial<ServerConnectionOptions> & { early?: (exchange: ServerExchange) => boolean } = {},
) {
  const seen: Seen[] = []
  const bad: BadRequest[] = []
  const connections = new Set<ServerConnection>()
  const sockets = new Set<Socket>()
  const { early, ...limits } = options
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket)
    const connection = new ServerConnection(
      socket,
      { maxHeaderSize: 8192, headTimeout: 10_000, idleTimeout: 0, ...limits },
      {
        onRequest(exchange) {
          if (early?.(exchange)) return
          const chunks: Buffer[] = exchange.body ? [exchange.body] : []
          const whole = () => {
            const { method, target, host, fields } = exchange.head
            const one = { method, target, host, fields, body: Buffer.concat(chunks).toString('latin1') }
            seen.push(one)
            serve(exchange, one)
          }
          exchange.sink = { data: (chunk) => void chunks.push(chunk), requestEnd: whole, drained() {}, closed() {} }
          if (!exchange.streaming) whole()
        },
        onBadRequest: (error) => void bad.push(error),
        onClose() {
          connections.delete(connection)
          sockets.delete(socket)
        },
      },
    )
    connections.add(connection)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    port,
    seen,
    bad,
    connections,
    /** Sends bytes (in pieces, one a turn, when there are several) and resolves with all that came until the server ended it. */
    async talk(...pieces: (string | Buffer)[]): Promise<string> {
      const socket = connect(port, '127.0.0.1')
      let text = ''
      socket.on('data', (chunk) => {
        text += chunk.toString('latin1')
      })
      socket.on('error', () => {})
      for (const piece of pieces) {
        await new Promise<void>((resolve) =>
          socket.write(typeof piece === 'string' ? Buffer.from(piece, 'latin1') : piece, () => resolve()),
        )
      }
      if (!socket.closed) await once(socket, 'close')
      return text
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

export function answerWith(exchange: ServerExchange, body: string, fields: readonly string[] = []): void {
  const bytes = Buffer.from(body)
  exchange.respond(200, [...fields, 'content-length', String(bytes.length)])
  exchange.write(bytes)
  exchange.end()
}

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { createServer as createTls, type TlsOptions } from 'node:tls'
import type { MutualTls } from '../transport/grpc/server.ts'
import { createServer } from '../transport/node-http.ts'

export interface WebhookServerOptions {
  host: string
  port: number
  /** Whose certificate is shown; callers need none. */
  identity: MutualTls
  /** By path: what a POST of JSON is answered with. It does not reject. */
  routes: ReadonlyMap<string, (body: unknown) => Promise<unknown>>
}

/** API servers send at most 3 MiB of an object, twice in an update. */
const LARGEST = 8 << 20

/** What API servers call: HTTP/1.1 over TLS whose certificate is replaced while it listens. Resolves with its port. */
export async function openWebhookServer(options: WebhookServerOptions): Promise<AsyncDisposable & { readonly port: number }> {
  const http = createServer({ requestTimeout: 30_000, headersTimeout: 10_000 }, (request, response) => {
    const { socket } = request
    sockets.set(socket, true)
    response.once('close', () => {
      if (closing) socket.end()
      else if (sockets.has(socket)) sockets.set(socket, false)
    })
    void answer(request, response, options.routes)
  })
  /** Whether each is being answered. What is not listening itself, Node's server does not keep count of. */
  const sockets = new Map<Socket, boolean>()
  let closing = false
  const open = (tls: TlsOptions): TlsOptions => ({ ...tls, requestCert: false, rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] })
  const listener = createTls(open(options.identity.options), (socket) => {
    sockets.set(socket, false)
    socket.once('close', () => sockets.delete(socket))
    http.emit('connection', socket)
  })
  listener.on('tlsClientError', () => {})
  const following = options.identity.follow((fresh) => listener.setSecureContext(open(fresh)))
  await new Promise<void>((resolve, reject) => {
    listener.once('error', reject)
    listener.listen(options.port, options.host === '' ? undefined : options.host, resolve)
  })
  const address = listener.address()
  return {
    port: address !== null && typeof address === 'object' ? address.port : 0,
    async [Symbol.asyncDispose]() {
      following[Symbol.dispose]()
      const closed = new Promise<void>((resolve) => listener.close(() => resolve()))
      closing = true
      for (const [socket, busy] of sockets) if (!busy) socket.destroy()
      // What is under way is a matter of milliseconds.
      const timer = setTimeout(() => {
        for (const socket of sockets.keys()) socket.destroy()
      }, 1000)
      await closed
      clearTimeout(timer)
    },
  }
}

async function answer(request: IncomingMessage, response: ServerResponse, routes: WebhookServerOptions['routes']): Promise<void> {
  const refuse = (status: number, text: string) => void response.writeHead(status, { 'content-type': 'text/plain' }).end(`${text}\n`)
  const handle = routes.get((request.url ?? '').split('?', 1)[0] as string)
  if (!handle) return refuse(404, 'not found')
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > LARGEST) return refuse(413, `more than ${LARGEST} bytes`)
      chunks.push(chunk)
    }
  } catch {
    return void response.destroy()
  }
  if (size === 0) return refuse(400, 'empty body')
  if (request.headers['content-type']?.split(';', 1)[0]?.trim() !== 'application/json')
    return refuse(415, 'invalid Content-Type, expected `application/json`')
  let body: unknown
  try {
    body = JSON.parse(Buffer.concat(chunks).toString())
  } catch {
    // What is no JSON is answered like any other review that cannot be read.
    body = undefined
  }
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(await handle(body)))
}

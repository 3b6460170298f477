import { once } from 'node:events'
import type { IncomingHttpHeaders } from 'node:http'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { Exchange, type HttpRequest } from './exchange.ts'
import { HttpPool, type PoolOptions } from './pool.ts'

export interface Heard {
  status: number
  headers: IncomingHttpHeaders
  body: Buffer
}

/** An exchange for tests: settles with the whole reply, or with what went wrong. */
export class TestExchange extends Exchange {
  readonly #settled = Promise.withResolvers<Heard>()
  readonly began = Promise.withResolvers<void>()
  readonly chunks: Buffer[] = []
  status = 0
  headers: IncomingHttpHeaders = {}
  /** How often the end was told: more than once is a fault. */
  ends = 0
  onChunk: ((chunk: Buffer) => void) | undefined

  constructor(request: Partial<HttpRequest> = {}) {
    super({ method: 'GET', path: '/', headers: [], ...request })
    this.#settled.promise.catch(() => {})
    this.began.promise.catch(() => {})
  }

  get reply(): Promise<Heard> {
    return this.#settled.promise
  }

  protected head(status: number, headers: IncomingHttpHeaders): void {
    this.status = status
    this.headers = headers
    this.began.resolve()
  }

  protected data(chunk: Buffer): void {
    this.chunks.push(chunk)
    this.onChunk?.(chunk)
  }

  protected end(): void {
    this.ends++
    this.#settled.resolve({ status: this.status, headers: this.headers, body: Buffer.concat(this.chunks) })
  }

  protected failed(error: Error): void {
    this.ends++
    this.#settled.reject(error)
    this.began.reject(error)
  }
}

/** A server of bare TCP that is told each connection and what came on it, and a pool that knows it. */
export async function bareServer(serve: (socket: Socket, connection: number) => void, options: Partial<PoolOptions> = {}) {
  const sockets = new Set<Socket>()
  let connections = 0
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    socket.setNoDelay(true)
    serve(socket, connections++)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const pool = new HttpPool({ host: '127.0.0.1', port, ...options })
  return {
    port,
    pool,
    get connections() {
      return connections
    },
    sockets,
    /** Sends a request; its reply, whole. */
    ask(request: Partial<HttpRequest> = {}): Promise<Heard> {
      const exchange = new TestExchange(request)
      pool.dispatch(exchange)
      return exchange.reply
    },
    send(request: Partial<HttpRequest> = {}): TestExchange {
      const exchange = new TestExchange(request)
      pool.dispatch(exchange)
      return exchange
    },
    async [Symbol.asyncDispose]() {
      await pool[Symbol.asyncDispose]()
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

/** Answers every request (told apart by the end of its head) with these bytes. */
export function answering(reply: string | Buffer, end = false): (socket: Socket) => void {
  return (socket) =>
    onRequest(socket, () => {
      socket.write(reply)
      if (end) socket.end()
    })
}

/** Calls `take` with the head of each request without a body. */
export function onRequest(socket: Socket, take: (head: string) => void): void {
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1')
    for (let stop = text.indexOf('\r\n\r\n'); stop >= 0; stop = text.indexOf('\r\n\r\n')) {
      const head = text.slice(0, stop + 4)
      text = text.slice(stop + 4)
      take(head)
    }
  })
}

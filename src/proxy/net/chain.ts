import type { Socket } from 'node:net'
import { createServer as createTlsServer, type TLSSocket, type Server as TlsServer } from 'node:tls'
import { ServerConnection } from '../../transport/http1/server-connection.ts'
import type { ServerExchange } from '../../transport/http1/server-exchange.ts'
import { Http2Connection } from '../../transport/http2/connection.ts'
import { PREFACE } from '../../transport/http2/input.ts'
import { Followed } from '../followed.ts'
import type { AccessTester } from '../http/access.ts'
import { compileAccess } from '../http/access.ts'
import type { LogFiles } from '../http/access-log.ts'
import type { ConnectionInfo } from '../http/downstream.ts'
import { Http1Downstream } from '../http/downstream-http1.ts'
import { Http2Downstream } from '../http/downstream-http2.ts'
import { HttpHandler } from '../http/handler.ts'
import type { FilterChain, HttpHandling } from '../model/listener.ts'
import type { Figures } from '../stats.ts'
import { compileNames, filesOf, KEPT, serverOptions } from '../tls.ts'
import { connectionInfo } from './connection-info.ts'
import { TcpHandler } from './tcp.ts'

/** A connection as its listener sees it. */
export interface Served {
  /** Closes what waits too long. */
  sweep(now: number): void
  /** Takes nothing new and ends when what is under way has. */
  drain(): void
}

export interface ChainContext {
  clusters: ConstructorParameters<typeof HttpHandler>[0]['clusters']
  figures: Figures
  files: LogFiles
  log: ConstructorParameters<typeof HttpHandler>[0]['log']
  bufferLimit: number
  /** Sees requests over HTTP/1.1 before they are handled, and may change their target; true: it answers. */
  intercept?: ((exchange: ServerExchange) => boolean) | undefined
}

const HEAD_TIMEOUT = 60_000
const STREAM_WINDOW = 256 << 10
const MAX_QUEUED = 8 << 20
const NO_REQUEST = { method: '', path: '', pathEnd: 0, authority: '', fields: [] } as const

/** One filter chain of a listener: TLS, then who may connect, then HTTP or bytes. */
export class Chain implements Disposable {
  readonly model: FilterChain
  readonly handler: HttpHandler | TcpHandler
  readonly #tls: TlsServer | undefined
  #followed: Disposable | undefined
  readonly #figures: Figures
  readonly #access: readonly AccessTester[]
  readonly #intercept: ChainContext['intercept']
  /** Who waits for a handshake to come to its end. */
  readonly #handshakes = new WeakMap<Socket, (socket: TLSSocket) => void>()

  /** Throws for certificates, formats and the like that cannot be used. */
  constructor(model: FilterChain, context: ChainContext) {
    this.model = model
    this.#figures = context.figures
    this.#intercept = context.intercept
    this.#access = model.access.map(compileAccess)
    const { handling } = model
    this.handler =
      handling.kind === 'http' ? new HttpHandler({ ...context, settings: handling }) : new TcpHandler({ ...context, settings: handling })
    if (model.tls) this.#tls = this.#openTls(model.tls, context.log)
  }

  #openTls(tls: NonNullable<FilterChain['tls']>, log: ChainContext['log']): TlsServer {
    const right = compileNames(tls.validation)
    const what = `the filter chain ${this.model.name || tls.certificates.map(({ chain }) => ('file' in chain ? chain.file : 'inline')).join(', ')}`
    const options = new Followed(filesOf(tls), {
      make: () => serverOptions(tls),
      // For connections to come; those that are there keep what they were opened with.
      changed: (made) => {
        server.setSecureContext(made)
        log.info(`${what}: its certificates have been read again`)
      },
      refused: (why) => log.warn(`${what}: its certificates cannot be used: ${why}; ${KEPT}`),
    })
    this.#followed = options
    const server = createTlsServer({ ...options.current, allowHalfOpen: true })
    server.on('secureConnection', (socket: TLSSocket) => {
      const { raw } = socket.getPeerCertificate() ?? {}
      const wrong = raw ? right(raw) : undefined
      if (wrong) return void socket.destroy()
      const waits = this.#handshakes.get((socket as TLSSocket & { _parent?: Socket })._parent as Socket)
      if (waits) waits(socket)
      else socket.destroy()
    })
    server.on('tlsClientError', (_, socket) => {
      ;(this.#figures.downstream_cx_protocol_error as number)++
      socket.destroy()
    })
    return server
  }

  /** Takes a connection over. `first`: what was read of it. `served` hears when it is known what it speaks. */
  take(socket: Socket, original: ConnectionInfo['original'], first: Buffer | undefined, served: (served: Served) => void): void {
    if (!this.#tls) return this.#admitted(socket, original, first, served)
    if (first && first.length > 0) socket.unshift(first)
    ;(this.#figures.downstream_cx_ssl_total as number)++
    this.#handshakes.set(socket, (secure) => this.#admitted(secure, original, undefined, served))
    this.#tls.emit('connection', socket)
  }

  #admitted(socket: Socket, original: ConnectionInfo['original'], first: Buffer | undefined, served: (served: Served) => void): void {
    const info = connectionInfo(socket, original)
    if (!this.#access.every((test) => test(NO_REQUEST, info, info.remoteAddress))) {
      ;(this.#figures.rbac_denied as number)++
      return void socket.destroy()
    }
    const { handler } = this
    if (handler instanceof TcpHandler) return served(handler.take(socket, info, first))
    const { protocol } = handler.settings
    const alpn = (socket as Partial<TLSSocket>).alpnProtocol
    if (protocol !== 'auto') return served(this.#http(handler, socket, info, first, protocol === 'http2'))
    if (alpn) return served(this.#http(handler, socket, info, first, alpn === 'h2'))
    const known = first && isPreface(first)
    if (known !== undefined) return served(this.#http(handler, socket, info, first, known))
    this.#detect(handler, socket, info, first, served)
  }

  /** Waits for as many bytes as tell HTTP/2 from HTTP/1.1; the first byte nearly always does. */
  #detect(handler: HttpHandler, socket: Socket, info: ConnectionInfo, first: Buffer | undefined, served: (served: Served) => void): void {
    let seen = first ?? Buffer.alloc(0)
    const since = performance.now()
    const done = () => socket.off('data', read).off('end', gone).off('error', gone)
    const gone = () => {
      done()
      socket.destroy()
    }
    const read = (chunk: Buffer) => {
      seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk])
      const known = isPreface(seen)
      if (known === undefined) return
      done()
      socket.pause()
      served(this.#http(handler, socket, info, seen, known))
    }
    socket.on('data', read).on('end', gone).on('error', gone)
    const { idleTimeout } = handler.settings
    const limit = idleTimeout > 0 ? Math.min(HEAD_TIMEOUT, idleTimeout) : HEAD_TIMEOUT
    served({
      sweep: (now) => now - since > limit && gone(),
      drain: gone,
    })
    socket.resume()
  }

  #http(handler: HttpHandler, socket: Socket, info: ConnectionInfo, first: Buffer | undefined, http2: boolean): Served {
    socket.setNoDelay(true)
    return http2 ? this.#http2(handler, socket, info, first) : this.#http1(handler, socket, info, first)
  }

  #http1(handler: HttpHandler, socket: Socket, info: ConnectionInfo, first: Buffer | undefined): Served {
    const { maxHeaderSize, idleTimeout, requestTimeout } = handler.settings
    return new ServerConnection(
      socket,
      { maxHeaderSize, idleTimeout, headTimeout: requestTimeout || HEAD_TIMEOUT, endAborts: true },
      {
        onRequest: (exchange) => {
          if (!this.#intercept?.(exchange)) handler.handle(new Http1Downstream(exchange, info))
        },
        onBadRequest: () => void (this.#figures.downstream_cx_protocol_error as number)++,
        onClose() {},
      },
      first,
    )
  }

  #http2(handler: HttpHandler, socket: Socket, info: ConnectionInfo, first: Buffer | undefined): Served {
    const { maxHeaderSize, maxStreams, idleTimeout }: HttpHandling = handler.settings
    let idleSince = performance.now()
    if (first && first.length > 0) socket.unshift(first)
    const connection: Http2Connection = new Http2Connection(
      { socket },
      {
        streamWindow: STREAM_WINDOW,
        maxHeaderBlock: maxHeaderSize * 2,
        maxHeaderSize,
        maxStreams,
        maxQueued: MAX_QUEUED,
        resetBurst: 1000,
        resetRate: 100,
      },
      {
        onStream(stream) {
          const downstream = new Http2Downstream(stream, info)
          // A body that came with the head is known by the end of the turn.
          process.nextTick(() => {
            downstream.settle()
            if (stream.closed) return
            handler.handle(downstream)
            downstream.flow()
          })
        },
        onPing() {},
        onIdle() {
          idleSince = performance.now()
        },
        onClose() {},
      },
    )
    socket.resume()
    return {
      sweep(now) {
        if (idleTimeout > 0 && connection.streams.size === 0 && now - idleSince > idleTimeout) connection.close()
      },
      drain: () => connection.close(),
    }
  }

  [Symbol.dispose](): void {
    this.handler[Symbol.dispose]()
    this.#followed?.[Symbol.dispose]()
    this.#tls?.removeAllListeners()
  }
}

/** Undefined: not told yet. */
function isPreface(bytes: Buffer): boolean | undefined {
  if (bytes.length === 0) return undefined
  const size = Math.min(bytes.length, PREFACE.length)
  if (bytes.compare(PREFACE, 0, size, 0, size) !== 0) return false
  return bytes.length >= 4 ? true : undefined
}

import { rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import type { OriginalDestination } from '../../transport/original-destination.ts'
import type { ConnectionInfo } from '../http/downstream.ts'
import { HttpHandler } from '../http/handler.ts'
import type { Listener } from '../model/listener.ts'
import type { Figures } from '../stats.ts'
import { Chain, type ChainContext, type Served } from './chain.ts'
import { chainChooser, plainAddress } from './chains.ts'
import { detectHttp, readClientHello } from './client-hello.ts'

export interface ListenerOptions extends Omit<ChainContext, 'figures' | 'bufferLimit'> {
  /** Figures by the prefix of their chain, shared by chains of one prefix. */
  figuresOf(stat: string): Figures
  /** Where a connection wanted to go before it was sent here; undefined: it cannot be told. */
  original: OriginalDestination | 'guess' | undefined
}

/** Bytes that are looked at to learn what a client speaks. */
const MAX_LOOK = 32_768
const SWEEP = 1000

/** One port and its filter chains: opening → open → draining → closed. */
export class ProxyListener implements AsyncDisposable {
  readonly model: Listener
  readonly chains: readonly Chain[]
  readonly figures: Figures = { downstream_cx_total: 0, downstream_cx_active: 0, no_filter_chain_match: 0 }
  readonly #options: ListenerOptions
  readonly #choose: ReturnType<typeof chainChooser<Chain>>
  readonly #server: Server
  readonly #sockets = new Map<Socket, Served | undefined>()
  readonly #sweep: NodeJS.Timeout
  /** The first bytes are needed to choose a chain. */
  readonly #looks: boolean
  draining = false

  /** Throws for what cannot be used. */
  constructor(model: Listener, options: ListenerOptions) {
    this.model = model
    this.#options = options
    this.chains = model.chains.map((chain) => {
      const context = { ...options, figures: options.figuresOf(chain.handling.stat), bufferLimit: model.bufferLimit }
      return new Chain(chain, context)
    })
    this.#choose = chainChooser(this.chains)
    this.#looks = model.chains.some(
      ({ match }) => match.serverNames.length > 0 || match.transport !== undefined || match.applicationProtocols.length > 0,
    )
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#take(socket))
    this.#sweep = setInterval(() => {
      const now = performance.now()
      for (const served of this.#sockets.values()) served?.sweep(now)
    }, SWEEP).unref()
  }

  get port(): number {
    const address = this.#server.address()
    return address && typeof address === 'object' ? address.port : 0
  }

  get connections(): number {
    return this.#sockets.size
  }

  /** Rejects when it cannot be bound. */
  async open(): Promise<void> {
    const { host, port, path, name, backlog } = this.model
    if (path !== undefined) rmSync(path, { force: true })
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (error) =>
        reject(new Error(`the listener ${name} cannot be opened on ${path ?? `${host}:${port}`}: ${error.message}; choose another`)),
      )
      this.#server.listen(path === undefined ? { host, port, backlog } : { path, backlog }, () => resolve())
    })
    this.#server.removeAllListeners('error')
    this.#server.on('error', (error) => this.#options.log.warn(`the listener ${name}: ${error.message}`))
  }

  #take(socket: Socket): void {
    const { figures } = this
    ;(figures.downstream_cx_total as number)++
    ;(figures.downstream_cx_active as number)++
    this.#sockets.set(socket, undefined)
    socket.on('error', () => {})
    socket.once('close', () => {
      this.#sockets.delete(socket)
      ;(figures.downstream_cx_active as number)--
    })
    const { original: asked } = this.#options
    const original = this.model.originalDestination && typeof asked === 'function' ? asked(socket) : undefined
    if (this.#looks) this.#look(socket, original)
    else this.#chosen(socket, original, undefined, false, undefined, [])
  }

  /** Reads until it is clear what the client speaks and whom it asks for; one that says nothing for too long gets what fits that. */
  #look(socket: Socket, original: ConnectionInfo['original']): void {
    let seen: Buffer = Buffer.alloc(0)
    const done = () => {
      clearTimeout(timer)
      socket.off('data', read).off('end', ended)
      socket.pause()
    }
    const read = (chunk: Buffer) => {
      seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk])
      const hello = readClientHello(seen)
      const http = hello === 'none' ? detectHttp(seen) : undefined
      if ((hello === 'more' || http === 'more') && seen.length < MAX_LOOK) return
      done()
      const found = typeof hello === 'object' ? hello : undefined
      this.#chosen(socket, original, seen, found !== undefined, found?.serverName, http ? [http] : (found?.alpn ?? []))
    }
    const ended = () => {
      done()
      socket.destroy()
    }
    const timer = setTimeout(() => {
      done()
      this.#chosen(socket, original, seen, false, undefined, [])
    }, this.model.detectTimeout)
    socket.on('data', read).on('end', ended)
    socket.once('close', () => clearTimeout(timer))
  }

  #chosen(
    socket: Socket,
    told: ConnectionInfo['original'],
    first: Buffer | undefined,
    secure: boolean,
    serverName: string | undefined,
    alpn: readonly string[],
  ): void {
    if (socket.destroyed) return
    // Nobody can ask the socket: who speaks TLS says where it goes.
    const guessed =
      this.#options.original === 'guess' && this.model.originalDestination && serverName ? { host: serverName, port: 443 } : undefined
    const original = told ?? guessed
    const chain = this.#choose({
      secure,
      serverName,
      alpn,
      port: original?.port ?? socket.localPort ?? 0,
      localAddress: original?.host ?? plainAddress(socket.localAddress),
      remoteAddress: plainAddress(socket.remoteAddress),
    })
    if (!chain) {
      ;(this.figures.no_filter_chain_match as number)++
      return void socket.destroy()
    }
    chain.take(socket, original, first, (served) => {
      this.#sockets.set(socket, served)
      if (this.draining) served.drain()
    })
  }

  /** Takes no more connections, lets what is under way finish, and cuts what is left when its time is over. */
  async drain(): Promise<void> {
    if (this.draining) return
    this.draining = true
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    for (const [socket, served] of this.#sockets) {
      if (served) served.drain()
      else socket.destroy()
    }
    const limits = this.chains.map(({ handler }) => (handler instanceof HttpHandler ? handler.settings.drainTimeout : 0))
    const late = setTimeout(
      () => {
        for (const socket of this.#sockets.keys()) socket.destroy()
      },
      Math.max(0, ...limits),
    )
    await closed
    clearTimeout(late)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#sweep)
    if (this.#server.listening || this.#sockets.size > 0) await this.drain()
    for (const chain of this.chains) chain[Symbol.dispose]()
  }
}

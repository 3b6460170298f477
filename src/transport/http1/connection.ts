import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'
import { sharedBuffer } from '../shared-read.ts'
import { HttpCallError } from './errors.ts'
import type { Carrier, Exchange } from './exchange.ts'
import type { ReplyHead } from './reply-head.ts'
import { type ParserLimits, type ReplyEvents, ReplyParser } from './reply-parser.ts'
import type { RequestHead } from './request-head.ts'
import { Upload } from './upload.ts'

export interface ConnectionTarget extends ParserLimits {
  /** Name or address; with `socketPath` only for the Host header. */
  host: string
  port: number
  socketPath?: string | undefined
  /** Speaks TLS. */
  tls?: ConnectionOptions | undefined
  /** Milliseconds to come up, TLS included. */
  connectTimeout: number
  /** Milliseconds without a byte of an awaited reply; 0: no limit. */
  silenceTimeout: number
  /** Milliseconds that an unused connection is kept. */
  idleTimeout: number
}

/** Whoever has the connection. */
export interface ConnectionOwner {
  /** It is up, or its exchange is over: it can take one. */
  free(connection: Connection): void
  /** It could not be opened. */
  refused(connection: Connection, error: Error): void
  /** It is no more. */
  gone(connection: Connection): void
  /** The exchange was sent on a connection that had ended already; it may go out again on another. */
  again(exchange: Exchange, head: RequestHead): void
}

/** A repeated request of these does what a single one does (RFC 9110, section 9.2.2). */
const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'])
/** Up to this size body and head go out as one piece. */
const ONE_PIECE = 16 * 1024

/** One connection to a server, with one exchange at a time: connecting → free ⇄ busy → closed. */
export class Connection implements ReplyEvents, Carrier {
  readonly #target: ConnectionTarget
  readonly #owner: ConnectionOwner
  readonly #parser: ReplyParser
  readonly #socket: Socket
  #timer: NodeJS.Timeout | undefined
  #up = false
  #closed = false
  #used = false
  #answered = false
  #paused = false
  #exchange: Exchange | undefined
  #head: RequestHead | undefined
  #upload: Upload | undefined
  /** When it became free, by performance.now(). */
  freeSince = 0
  #idleLimit: number

  /** `onSession` hears TLS sessions with which the next connection comes up faster. */
  constructor(target: ConnectionTarget, owner: ConnectionOwner, onSession?: (session: Buffer) => void) {
    this.#target = target
    this.#owner = owner
    this.#idleLimit = target.idleTimeout
    this.#parser = new ReplyParser(this, target)
    const socket = target.tls ? this.#openTls(target.tls, onSession) : this.#openPlain()
    this.#socket = socket
    socket.setNoDelay(true)
    socket.once(target.tls ? 'secureConnect' : 'connect', () => this.#connected())
    socket.on('end', () => this.#ended())
    socket.on('error', (error) => this.#lost(describe(error, target)))
    socket.on('close', () => this.#lost(undefined))
    this.#timer = setTimeout(
      () => this.#lost(new HttpCallError('ETIMEDOUT', `connect ETIMEDOUT ${placeOf(target)}`)),
      target.connectTimeout,
    )
  }

  #openPlain(): Socket {
    const { host, port, socketPath } = this.#target
    const onread = {
      buffer: sharedBuffer(),
      callback: (size: number, buffer: Uint8Array) => {
        this.#read(buffer as Buffer, size, true)
        return true
      },
    }
    return connectTcp(socketPath === undefined ? { host, port, onread } : { path: socketPath, onread })
  }

  #openTls(tls: ConnectionOptions, onSession?: (session: Buffer) => void): Socket {
    const { host, port, socketPath } = this.#target
    const place = socketPath === undefined ? { host, port } : { path: socketPath }
    const name = tls.servername ?? (isIP(host) ? undefined : host)
    const socket = connectTls({ ALPNProtocols: ['http/1.1'], ...tls, ...place, ...(name === undefined ? {} : { servername: name }) })
    if (onSession) socket.on('session', onSession)
    socket.on('data', (chunk: Buffer) => this.#read(chunk, chunk.length, false))
    return socket
  }

  /** Whether it may be given another exchange. */
  usable(now: number): boolean {
    return !this.#closed && this.#socket.writable && now - this.freeSince < this.#idleLimit
  }

  /** Sends a request; the connection is free. */
  send(exchange: Exchange, head: RequestHead): void {
    const socket = this.#socket
    const { method, body } = exchange.request
    this.#exchange = exchange
    this.#head = head
    this.#answered = false
    exchange.carrier = this
    this.#parser.begin(method === 'HEAD')
    if (this.#target.silenceTimeout > 0) this.#watch(this.#target.silenceTimeout)
    if (body === undefined) socket.write(head.text, 'latin1')
    else if (Buffer.isBuffer(body)) {
      if (body.length <= ONE_PIECE) {
        const start = head.text.length
        const whole = Buffer.allocUnsafe(start + body.length)
        whole.write(head.text, 0, 'latin1')
        body.copy(whole, start)
        socket.write(whole)
      } else {
        socket.cork()
        socket.write(head.text, 'latin1')
        socket.write(body)
        socket.uncork()
      }
    } else {
      socket.write(head.text, 'latin1')
      this.#upload = new Upload(socket, exchange.request, body, head.length, (error) => this.#lost(error))
      this.#upload.start()
    }
  }

  #watch(limit: number): void {
    if (this.#timer) return void this.#timer.refresh()
    this.#timer = setTimeout(() => {
      if (this.#paused) return this.#watch(limit)
      if (this.#exchange) this.#lost(new HttpCallError('ETIMEDOUT', `the server sent nothing for ${limit} ms`))
    }, limit)
  }

  #connected(): void {
    this.#up = true
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#owner.free(this)
  }

  #read(buffer: Buffer, size: number, isShared: boolean): void {
    if (this.#closed) return
    this.#answered = true
    if (this.#target.silenceTimeout > 0) this.#timer?.refresh()
    try {
      this.#parser.push(buffer, size, isShared)
    } catch (error) {
      this.#lost(error instanceof Error ? error : new Error(String(error)))
    }
  }

  #ended(): void {
    if (this.#closed) return
    try {
      this.#parser.eof()
      this.close()
    } catch (error) {
      this.#lost(error as Error)
    }
  }

  onHead(head: ReplyHead, whole: boolean): void {
    const { headers, length, status, idleSeconds } = head
    if (length >= 0 && (whole || this.#target.shortBodies === 0) && status !== 204 && status !== 101)
      headers['content-length'] = String(length)
    this.#idleLimit = this.#target.idleTimeout
    // Some time before the server closes it: a request that meets its end on the way is lost.
    if (idleSeconds !== undefined) this.#idleLimit = Math.min(this.#idleLimit, Math.max(idleSeconds * 1000 - 1000, idleSeconds * 500))
    this.#exchange?.onHead(status, headers, head.reason)
  }

  onBody(chunk: Buffer): void {
    this.#exchange?.onData(chunk)
  }

  onEnd(clean: boolean, trailers: readonly string[]): void {
    const exchange = this.#exchange
    const upload = this.#upload
    this.#exchange = this.#head = this.#upload = undefined
    this.#used = true
    if (clean && (!upload || upload.done)) {
      if (this.#paused) this.resume()
      this.#owner.free(this)
    } else {
      upload?.stop()
      this.close()
    }
    try {
      exchange?.onEnd(trailers)
    } catch (error) {
      // The connection may carry another exchange by now, which must not pay for a fault of this one's listener.
      process.emitWarning(error as Error)
    }
  }

  pause(): void {
    this.#paused = true
    this.#socket.pause()
  }

  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#socket.resume()
  }

  /** The exchange is not wanted any more. HTTP/1.1 can say that only by closing the connection. */
  drop(exchange: Exchange): void {
    if (exchange !== this.#exchange) return
    this.#exchange = undefined
    this.close()
  }

  /** Closes at once, whatever is under way; a waiting exchange hears of it. */
  close(reason?: Error): void {
    this.#lost(reason)
  }

  #lost(cause: Error | undefined): void {
    if (this.#closed) return
    this.#closed = true
    clearTimeout(this.#timer)
    this.#parser.stop()
    this.#upload?.stop()
    const exchange = this.#exchange
    const head = this.#head
    this.#exchange = this.#head = undefined
    this.#socket.destroy()
    const error = cause ?? new HttpCallError('ECONNRESET', 'the server closed the connection')
    this.#owner.gone(this)
    if (!this.#up) this.#owner.refused(this, error)
    if (!exchange) return
    if (head && this.#used && !this.#answered && repeatable(exchange)) this.#owner.again(exchange, head)
    else exchange.onError(error)
  }
}

function repeatable({ over, retried, request: { method, body } }: Exchange): boolean {
  return !over && !retried && IDEMPOTENT.has(method) && (body === undefined || Buffer.isBuffer(body))
}

function placeOf({ host, port, socketPath }: ConnectionTarget): string {
  return socketPath ?? `${host}:${port}`
}

/** A host of several addresses fails with a list of errors and no word of its own. */
function describe(error: Error, target: ConnectionTarget): Error {
  if (error.message !== '') return error
  const { code = 'ECONNREFUSED' } = error as NodeJS.ErrnoException
  return Object.assign(new Error(`connect ${code} ${placeOf(target)}`, { cause: error }), { code })
}

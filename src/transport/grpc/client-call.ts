import { type ClientHttp2Stream, constants, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http2'
import { Code } from '../../errors.ts'
import type { GrpcCallOptions, GrpcClientStream, GrpcListener } from './client.ts'
import type { Connection } from './client-connection.ts'
import { formatTimeout } from './deadline.ts'
import { ACCEPT_ENCODING, FrameReader, wholeMessage } from './frames.ts'
import { GrpcStatus, httpToGrpc, readStatus, resetToGrpc } from './status.ts'

/** From a stream to its call, so that all streams share their listeners instead of having closures of their own. */
const CALL = Symbol('call')
type CallStream = ClientHttp2Stream & { [CALL]: Call }

const KEEP_OPEN = { endStream: false }

/** One call of a client. States: open → half closed → over, after which its listener hears nothing more. */
export class Call implements GrpcClientStream {
  readonly #connection: Connection
  readonly #listener: GrpcListener
  readonly #limit: number
  readonly #signal: AbortSignal | undefined
  readonly #timer: NodeJS.Timeout | undefined
  #stream: ClientHttp2Stream | undefined
  #reader: FrameReader | undefined
  #reason: GrpcStatus | undefined
  #encoding = ''
  #trailers: IncomingHttpHeaders | undefined
  #rawTrailers: readonly string[] | undefined
  #status = 0
  #over = false

  /** @param limit Bytes of one message, both ways. */
  constructor(connection: Connection, path: string, options: GrpcCallOptions, listener: GrpcListener, limit: number) {
    this.#connection = connection
    this.#listener = listener
    this.#limit = limit
    this.#signal = options.signal
    connection.enter()
    const headers: OutgoingHttpHeaders = {
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
      'grpc-accept-encoding': ACCEPT_ENCODING,
      ...options.headers,
    }
    if (options.timeout !== undefined) {
      headers['grpc-timeout'] = formatTimeout(options.timeout)
      this.#timer = setTimeout(
        () => this.cancel(new GrpcStatus(Code.DeadlineExceeded, 'context deadline exceeded')),
        Math.min(options.timeout, 0x7fffffff),
      )
    }
    try {
      this.#signal?.throwIfAborted()
      const stream = connection.session.request(headers, KEEP_OPEN)
      this.#stream = stream
      ;(stream as CallStream)[CALL] = this
      stream.on('response', onResponse)
      stream.on('trailers', onTrailers)
      stream.on('data', onData)
      stream.on('error', onError)
      stream.on('close', onClose)
      if (listener.onReady) {
        const ready = () => void (this.#over || listener.onReady?.())
        if (stream.pending) stream.once('ready', ready)
        else queueMicrotask(ready)
      }
      if (listener.onDrain) stream.on('drain', () => listener.onDrain?.())
    } catch (error) {
      this.#reason = this.#signal?.aborted ? canceled(this.#signal) : this.#lost(error as Error)
      queueMicrotask(() => this.close())
      return
    }
    this.#signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  readonly #onAbort = () => this.cancel(canceled(this.#signal as AbortSignal))

  response(head: IncomingHttpHeaders, raw: readonly string[]): void {
    this.#status = Number(head[':status'] ?? 0)
    const encoding = head['grpc-encoding']
    if (typeof encoding === 'string') this.#encoding = encoding
    if (head['grpc-status'] !== undefined) this.trailers(head, raw)
    this.#listener.onHeaders?.(head, raw)
  }

  trailers(trailers: IncomingHttpHeaders, raw: readonly string[]): void {
    this.#trailers = trailers
    this.#rawTrailers = raw
  }

  data(chunk: Buffer): void {
    if (this.#over) return
    try {
      if (!this.#reader) {
        const whole = wholeMessage(chunk, this.#limit)
        if (whole) return this.#listener.onMessage(whole)
        this.#reader = new FrameReader(
          this.#limit,
          (message) => {
            if (!this.#over) this.#listener.onMessage(message)
          },
          this.#encoding,
          'client',
        )
      }
      this.#reader.push(chunk)
    } catch (error) {
      this.cancel(GrpcStatus.from(error))
    }
  }

  error(error: Error): void {
    if (!this.#reason && !this.#trailers) this.#reason = this.#lost(error)
  }

  #lost(error: Error): GrpcStatus {
    return lostStatus(this.#connection, this.#stream, error)
  }

  close(): void {
    if (this.#over) return
    this.#over = true
    clearTimeout(this.#timer)
    this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#connection.leave()
    let status = this.#reason
    const trailers = this.#trailers ?? {}
    if (!status) {
      if (this.#trailers) status = readStatus(this.#trailers)
      else if (this.#status !== 0 && this.#status !== 200)
        status = new GrpcStatus(httpToGrpc(this.#status), `unexpected HTTP status ${this.#status} from ${this.#connection.address}`)
      else status = this.#lost(new Error('closed without a status'))
    }
    this.#listener.onClose(status, trailers, this.#rawTrailers)
  }

  #fits(framed: Buffer | undefined): boolean {
    const size = framed ? framed.length - 5 : 0
    if (size <= this.#limit) return true
    this.cancel(new GrpcStatus(Code.ResourceExhausted, `trying to send message larger than max (${size} vs. ${this.#limit})`))
    return false
  }

  write(framed: Buffer): boolean {
    if (this.#over || !this.#stream || this.#stream.destroyed || this.#stream.writableEnded || !this.#fits(framed)) return true
    return this.#stream.write(framed)
  }

  end(framed?: Buffer): void {
    if (this.#over || !this.#stream || this.#stream.destroyed || this.#stream.writableEnded || !this.#fits(framed)) return
    if (framed) this.#stream.end(framed)
    else this.#stream.end()
  }

  pause(): void {
    this.#stream?.pause()
  }

  resume(): void {
    if (!this.#over) this.#stream?.resume()
  }

  cancel(reason?: GrpcStatus): void {
    if (this.#over) return
    this.#reason ??= reason ?? new GrpcStatus(Code.Canceled, 'context canceled')
    this.#stream?.close(constants.NGHTTP2_CANCEL)
    // A paused stream would not reach its end.
    this.#stream?.resume()
    if (!this.#stream || this.#stream.pending) this.close()
  }
}

function onResponse(this: ClientHttp2Stream, head: IncomingHttpHeaders, _flags: number, raw: string[]): void {
  ;(this as CallStream)[CALL].response(head, raw)
}

function onTrailers(this: ClientHttp2Stream, trailers: IncomingHttpHeaders, _flags: number, raw: string[]): void {
  ;(this as CallStream)[CALL].trailers(trailers, raw)
}

function onData(this: ClientHttp2Stream, chunk: Buffer): void {
  ;(this as CallStream)[CALL].data(chunk)
}

function onError(this: ClientHttp2Stream, error: Error): void {
  ;(this as CallStream)[CALL].error(error)
}

function onClose(this: ClientHttp2Stream): void {
  ;(this as CallStream)[CALL].close()
}

function canceled(signal: AbortSignal): GrpcStatus {
  return signal.reason instanceof GrpcStatus ? signal.reason : new GrpcStatus(Code.Canceled, 'context canceled', { cause: signal.reason })
}

/** Why a call ended without a status: the connection, or the server resetting this one call. */
export function lostStatus(connection: Connection, stream: ClientHttp2Stream | undefined, error: Error): GrpcStatus {
  const cause = connection.failure ?? error
  const text = cause instanceof AggregateError ? cause.errors.map((one: Error) => one.message).join('; ') : cause.message
  if (!connection.connected)
    return new GrpcStatus(Code.Unavailable, `connection error: cannot reach ${connection.address}: ${text}`, { sent: false, cause })
  const code = stream?.rstCode ?? constants.NGHTTP2_NO_ERROR
  const unseen =
    code === constants.NGHTTP2_REFUSED_STREAM || stream === undefined || stream.id === undefined || stream.id > connection.lastStream
  if (!unseen && !connection.failure && !connection.session.destroyed && code !== constants.NGHTTP2_NO_ERROR)
    return new GrpcStatus(resetToGrpc(code), `stream terminated by RST_STREAM with error code: ${code}`, { cause })
  return new GrpcStatus(Code.Unavailable, `the connection to ${connection.address} was lost: ${text}`, { sent: !unseen, cause })
}

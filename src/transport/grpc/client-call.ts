import type { IncomingHttpHeaders } from 'node:http2'
import { Code } from '../../errors.ts'
import { QueueFull } from '../http2/client-pool.ts'
import { type ClientStreamSink, Http2ClientStream } from '../http2/client-stream.ts'
import { H2 } from '../http2/protocol.ts'
import type { GrpcCallOptions, GrpcClientStream, GrpcListener } from './client.ts'
import { FrameReader, wholeMessage } from './frames.ts'
import { GrpcStatus, httpToGrpc, readStatus, resetToGrpc } from './status.ts'

/** Bytes of a request that are kept, to be sent once more when the server surely did not look at them. */
const REPLAY = 65_536

/** What a call needs of its client. */
export interface CallTransport {
  /** Bytes of one message, both ways. */
  readonly limit: number
  /** The call's header block; throws what its metadata are refused with. */
  head(address: string, path: string, options: GrpcCallOptions): Buffer
  request(address: string, stream: Http2ClientStream): void
}

/** One call of a client. States: open → half closed → over, after which its listener hears nothing more. */
export class Call implements GrpcClientStream, ClientStreamSink {
  readonly #transport: CallTransport
  readonly #address: string
  readonly #listener: GrpcListener
  readonly #signal: AbortSignal | undefined
  #timer: NodeJS.Timeout | undefined
  #head: Buffer | undefined
  #stream: Http2ClientStream | undefined
  #reader: FrameReader | undefined
  #reason: GrpcStatus | undefined
  #encoding = ''
  #trailers: IncomingHttpHeaders | undefined
  #rawTrailers: readonly string[] | undefined
  #status = 0
  #over = false
  #paused = false
  #ended = false
  /** What was written; absent when it can or need not be sent again. */
  #sent: Buffer[] | undefined
  #sentSize = 0
  /** It may be sent again. */
  #fresh = true

  constructor(transport: CallTransport, address: string, path: string, options: GrpcCallOptions, listener: GrpcListener) {
    this.#transport = transport
    this.#address = address
    this.#listener = listener
    this.#signal = options.signal
    if (options.timeout !== undefined)
      this.#timer = setTimeout(
        () => this.cancel(new GrpcStatus(Code.DeadlineExceeded, 'context deadline exceeded')),
        Math.min(options.timeout, 0x7fffffff),
      )
    try {
      this.#signal?.throwIfAborted()
      this.#head = transport.head(address, path, options)
      this.#open()
    } catch (error) {
      this.#reason = this.#signal?.aborted ? canceled(this.#signal) : GrpcStatus.from(error)
      queueMicrotask(() => this.#close())
      return
    }
    if (this.#signal) this.#signal.addEventListener('abort', this, { once: true })
  }

  #open(): void {
    const stream = new Http2ClientStream(this.#head as Buffer)
    stream.sink = this
    this.#stream = stream
    if (this.#paused) stream.pause()
    this.#transport.request(this.#address, stream)
  }

  /** The signal was aborted. */
  handleEvent(): void {
    this.cancel(canceled(this.#signal as AbortSignal))
  }

  opened(): void {
    const { onReady } = this.#listener
    // Whoever makes the call does not have it yet.
    if (onReady) queueMicrotask(() => void (this.#over || this.#listener.onReady?.()))
  }

  head(headers: IncomingHttpHeaders, raw: readonly string[], last: boolean): void {
    this.#sent = undefined
    this.#fresh = false
    this.#status = Number(headers[':status'])
    const encoding = headers['grpc-encoding']
    if (encoding !== undefined) this.#encoding = String(encoding)
    if (last || headers['grpc-status'] !== undefined) {
      this.#trailers = headers
      this.#rawTrailers = raw
    }
    if (!this.#over) this.#listener.onHeaders?.(headers, raw)
  }

  data(chunk: Buffer): void {
    if (this.#over) return
    try {
      if (!this.#reader) {
        const whole = wholeMessage(chunk, this.#transport.limit)
        if (whole) return this.#listener.onMessage(whole)
        this.#reader = new FrameReader(
          this.#transport.limit,
          (message) => {
            if (!this.#over) this.#listener.onMessage(message)
          },
          this.#encoding,
          'client',
          undefined,
          this.#listener.borrows,
        )
      }
      this.#reader.push(chunk)
    } catch (error) {
      this.cancel(GrpcStatus.from(error))
    }
  }

  replyEnd(trailers: IncomingHttpHeaders | undefined, raw: readonly string[]): void {
    if (trailers) {
      this.#trailers = trailers
      this.#rawTrailers = raw
    } else if (!this.#trailers && this.#status === 200)
      this.#reason ??= new GrpcStatus(Code.Internal, 'server closed the stream without sending trailers')
    this.#close()
  }

  drained(): void {
    if (!this.#over) this.#listener.onDrain?.()
  }

  streamClosed(): void {
    if (this.#over) return
    const stream = this.#stream as Http2ClientStream
    if (!this.#reason && this.#fresh && this.#kept && wasRefused(stream)) return this.#again()
    this.#close()
  }

  /** Whether all that was written is still here. */
  get #kept(): boolean {
    return this.#sentSize === 0 || this.#sent !== undefined
  }

  /** Once more, for the server surely did nothing: it goes away, or has no room. */
  #again(): void {
    this.#fresh = false
    const sent = this.#sent ?? []
    this.#open()
    const stream = this.#stream as Http2ClientStream
    for (const framed of sent) stream.write(framed)
    if (this.#ended) stream.end()
  }

  #close(): void {
    if (this.#over) return
    this.#over = true
    if (this.#timer) clearTimeout(this.#timer)
    this.#signal?.removeEventListener('abort', this)
    this.#sent = undefined
    let status = this.#reason
    if (!status) {
      if (this.#trailers && (this.#status === 200 || this.#trailers['grpc-status'] !== undefined)) status = readStatus(this.#trailers)
      else if (this.#status !== 0 && this.#status !== 200)
        status = new GrpcStatus(httpToGrpc(this.#status), `unexpected HTTP status ${this.#status} from ${this.#address}`)
      else status = lostStatus(this.#address, this.#stream)
    }
    this.#listener.onClose(status, this.#trailers ?? {}, this.#rawTrailers)
  }

  #fits(framed: Buffer): boolean {
    const size = framed.length - 5
    const { limit } = this.#transport
    if (size <= limit) return true
    this.cancel(new GrpcStatus(Code.ResourceExhausted, `trying to send message larger than max (${size} vs. ${limit})`))
    return false
  }

  /** Whether it is kept, to be sent again. */
  #keep(framed: Buffer): boolean {
    if (!this.#fresh || !this.#kept) return false
    this.#sentSize += framed.length
    if (this.#sentSize > REPLAY) {
      this.#sent = undefined
      return false
    }
    if (this.#sent) this.#sent.push(framed)
    else this.#sent = [framed]
    return true
  }

  write(framed: Buffer, lent = false): boolean {
    if (this.#over || !this.#stream || this.#ended || !this.#fits(framed)) return true
    const kept = this.#keep(framed)
    return this.#stream.write(framed, lent && !kept)
  }

  end(framed?: Buffer): void {
    if (this.#over || !this.#stream || this.#ended) return
    if (framed) {
      if (!this.#fits(framed)) return
      this.#keep(framed)
    }
    this.#ended = true
    this.#stream.end(framed)
  }

  pause(): void {
    this.#paused = true
    this.#stream?.pause()
  }

  resume(): void {
    this.#paused = false
    if (!this.#over) this.#stream?.resume()
  }

  cancel(reason?: GrpcStatus): void {
    if (this.#over) return
    this.#reason ??= reason ?? new GrpcStatus(Code.Canceled, 'context canceled')
    this.#stream?.reset(H2.CANCEL)
    this.#close()
  }
}

function canceled(signal: AbortSignal): GrpcStatus {
  return signal.reason instanceof GrpcStatus ? signal.reason : new GrpcStatus(Code.Canceled, 'context canceled', { cause: signal.reason })
}

/** Whether a server that stood did nothing for a stream: then it is worth asking again at once. */
function wasRefused(stream: Http2ClientStream): boolean {
  return stream.unseen && stream.id > 0
}

/** Why a call ended without a status: no connection, a lost one, or the server resetting this one call. */
export function lostStatus(address: string, stream: Http2ClientStream | undefined): GrpcStatus {
  const cause = stream?.failure
  if (cause instanceof QueueFull) return new GrpcStatus(Code.ResourceExhausted, cause.message, { sent: false, cause })
  const text = cause instanceof AggregateError ? cause.errors.map((one: Error) => one.message).join('; ') : cause?.message
  if (!stream || stream.id === 0)
    return new GrpcStatus(Code.Unavailable, `connection error: cannot reach ${address}: ${text ?? 'closed'}`, { sent: false, cause })
  const code = stream.remoteCode
  if (code !== undefined && code !== H2.NO_ERROR && !stream.unseen)
    return new GrpcStatus(resetToGrpc(code), `stream terminated by RST_STREAM with error code: ${code}`)
  return new GrpcStatus(Code.Unavailable, `the connection to ${address} was lost: ${text ?? 'closed without a status'}`, {
    sent: !stream.unseen,
    cause,
  })
}

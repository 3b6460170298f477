import { constants, type IncomingHttpHeaders, type OutgoingHttpHeaders, type ServerHttp2Stream } from 'node:http2'
import { Code } from '../../errors.ts'
import { parseTimeout } from './deadline.ts'
import { FrameReader, frame } from './frames.ts'
import type { GrpcMethod, GrpcStream } from './server.ts'
import { GrpcStatus, statusTrailers } from './status.ts'

const RESPONSE: OutgoingHttpHeaders = { ':status': 200, 'content-type': 'application/grpc' }

/**
 * One call at the server. States: open → (half closed by the client) → ended by us, or closed by the other side;
 * `#over` marks the end, after which nothing is written and no handler function runs.
 */
export class GrpcServerCall implements GrpcStream {
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly rawHeaders: readonly string[]
  onMessage: ((message: Buffer) => void) | undefined
  onEnd: (() => void) | undefined
  onClose: ((reason: GrpcStatus | undefined) => void) | undefined
  onDrain: (() => void) | undefined
  readonly #stream: ServerHttp2Stream
  readonly #limit: number
  readonly #timer: NodeJS.Timeout | undefined
  readonly deadline: number | undefined
  #extra: OutgoingHttpHeaders | undefined
  #trailers: OutgoingHttpHeaders | undefined
  #status: GrpcStatus | undefined
  #abort: AbortController | undefined
  #over = false

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, rawHeaders: readonly string[], path: string, limit: number) {
    this.#stream = stream
    this.headers = headers
    this.rawHeaders = rawHeaders
    this.path = path
    this.#limit = limit
    stream.on('error', noop)
    stream.once('close', () => {
      // Nearly always we ended it ourselves: an error costs a stack trace, so it is made only when someone left.
      if (!this.#over) this.#close(new GrpcStatus(Code.Canceled, 'context canceled'))
    })
    const timeout = headers['grpc-timeout']
    if (typeof timeout === 'string') {
      const milliseconds = parseTimeout(timeout)
      if (milliseconds !== undefined) {
        this.deadline = Date.now() + milliseconds
        this.#timer = setTimeout(
          () => {
            const late = new GrpcStatus(Code.DeadlineExceeded, 'context deadline exceeded')
            this.#abort?.abort(late)
            this.fail(late)
          },
          Math.min(milliseconds, 0x7fffffff),
        )
      }
    }
  }

  get signal(): AbortSignal {
    if (!this.#abort) {
      this.#abort = new AbortController()
      if (this.#over) this.#abort.abort(new GrpcStatus(Code.Canceled, 'context canceled'))
    }
    return this.#abort.signal
  }

  run(method: Exclude<GrpcMethod, { kind: 'raw' }>): void {
    if (method.kind === 'unary') {
      let request: Buffer | undefined
      let several = false
      this.#read(
        (message) => {
          if (request) several = true
          else request = message
        },
        () => {
          if (!request || several)
            return this.fail(
              new GrpcStatus(
                Code.Internal,
                several ? 'grpc: received more than one message for a unary call' : 'grpc: no message received',
              ),
            )
          try {
            const response = method.handle(request, this)
            if (response instanceof Promise)
              response.then(
                (message) => this.end(frame(message)),
                (error: unknown) => this.fail(error),
              )
            else this.end(frame(response))
          } catch (error) {
            this.fail(error)
          }
        },
      )
      return
    }
    method.handle(this)
    if (!this.#over)
      this.#read(
        (message) => this.onMessage?.(message),
        () => this.onEnd?.(),
      )
  }

  #read(onMessage: (message: Buffer) => void, onEnd: () => void): void {
    const reader = new FrameReader(this.#limit, (message) => {
      if (!this.#over) onMessage(message)
    })
    this.#stream.on('data', (chunk: Buffer) => {
      if (this.#over) return
      try {
        reader.push(chunk)
      } catch (error) {
        this.fail(error)
      }
    })
    this.#stream.on('end', () => {
      if (this.#over) return
      if (reader.partial) this.fail(new GrpcStatus(Code.Internal, 'grpc: the request ended inside a message'))
      else onEnd()
    })
  }

  pause(): void {
    this.#stream.pause()
  }

  resume(): void {
    if (!this.#over) this.#stream.resume()
  }

  setHeader(name: string, value: string | string[]): void {
    this.#extra ??= {}
    this.#extra[name] = value
  }

  setTrailer(name: string, value: string | string[]): void {
    this.#trailers ??= {}
    this.#trailers[name] = value
  }

  #respond(): void {
    const stream = this.#stream
    if (stream.headersSent) return
    stream.respond(this.#extra ? { ...RESPONSE, ...this.#extra } : RESPONSE, { waitForTrailers: true })
    stream.once('wantTrailers', () => {
      const trailers = statusTrailers(this.#status)
      stream.sendTrailers(this.#trailers ? { ...this.#trailers, ...trailers } : trailers)
      // A client that is still sending would keep the stream open although we are done with it.
      if (!stream.readableEnded) stream.close(constants.NGHTTP2_NO_ERROR)
    })
  }

  write(framed: Buffer): boolean {
    if (this.#over || this.#stream.destroyed) return true
    this.#respond()
    const room = this.#stream.write(framed)
    if (!room) this.#stream.once('drain', () => this.onDrain?.())
    return room
  }

  end(framed?: Buffer): void {
    this.#finish(framed, undefined)
  }

  fail(error: unknown): void {
    this.#finish(undefined, GrpcStatus.from(error))
  }

  #finish(framed: Buffer | undefined, status: GrpcStatus | undefined): void {
    if (this.#over) return
    const stream = this.#stream
    this.#status = status
    if (!stream.destroyed) {
      if (!stream.headersSent && status) {
        stream.respond({ ...RESPONSE, ...this.#extra, ...this.#trailers, ...statusTrailers(status) }, { endStream: true })
        if (!stream.readableEnded) stream.resume()
      } else {
        this.#respond()
        if (framed) stream.end(framed)
        else stream.end()
        if (!stream.readableEnded) stream.resume()
      }
    }
    this.#close(undefined)
  }

  #close(reason: GrpcStatus | undefined): void {
    if (this.#over) return
    this.#over = true
    clearTimeout(this.#timer)
    if (reason) this.#abort?.abort(reason)
    this.onClose?.(reason)
  }
}

function noop(): void {}

import type { Socket } from 'node:net'
import type { ServerExchange, ServerExchangeSink } from '../../transport/http1/server-exchange.ts'
import { NO_TRAILERS } from '../../transport/http1/trailers.ts'
import type { ConnectionInfo, Downstream, DownstreamSink } from './downstream.ts'

/** A request over HTTP/1.1 as exchanges see it. */
export class Http1Downstream implements Downstream, ServerExchangeSink {
  readonly protocol: 'HTTP/1.0' | 'HTTP/1.1'
  readonly method: string
  readonly path: string
  readonly authority: string
  readonly fields: string[]
  readonly body: Buffer | undefined
  readonly length: number | undefined
  readonly connection: ConnectionInfo
  trailers: readonly string[] = NO_TRAILERS
  sink: DownstreamSink | undefined
  readonly #exchange: ServerExchange

  constructor(exchange: ServerExchange, connection: ConnectionInfo) {
    const { head, body } = exchange
    this.#exchange = exchange
    this.connection = connection
    this.protocol = head.minor === 0 ? 'HTTP/1.0' : 'HTTP/1.1'
    this.method = head.method
    this.path = head.target
    this.authority = head.host
    this.fields = head.fields
    // It belongs to the connection; each next hop is told anew.
    if (head.trailers) head.fields.push('te', 'trailers')
    this.body = body
    this.length = head.length >= 0 ? head.length : undefined
    exchange.sink = this
  }

  get streaming(): boolean {
    return this.#exchange.streaming
  }

  get upgrade(): string | undefined {
    const wanted = this.#exchange.head.upgrade?.toLowerCase()
    // HTTP/2 in clear text begins with its preface here; who asks for it this way is answered in HTTP/1.1, as the RFC allows.
    return wanted === 'h2c' ? undefined : wanted
  }

  get headersSent(): boolean {
    return this.#exchange.headersSent
  }

  respond(status: number, fields: readonly string[]): void {
    this.#exchange.respond(status, fields)
  }

  write(chunk: Buffer): boolean {
    return this.#exchange.write(chunk)
  }

  end(trailers: readonly string[]): void {
    this.#exchange.end(trailers)
  }

  reset(): void {
    this.#exchange.reset()
  }

  pause(): void {
    this.#exchange.pause()
  }

  resume(): void {
    this.#exchange.resume()
  }

  detach(): Socket {
    return this.#exchange.detach()
  }

  data(chunk: Buffer): void {
    this.sink?.requestData(chunk)
  }

  requestEnd(trailers: readonly string[]): void {
    this.trailers = trailers
    this.sink?.requestEnd()
  }

  drained(): void {
    this.sink?.replyDrained()
  }

  closed(complete: boolean): void {
    this.sink?.clientGone(complete)
  }
}

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Span } from '../../telemetry/tracing/span.ts'
import type { Route } from './route.ts'

const NO_PARAMS = {}

/** One request and what became of it, as metrics, traces and API logging tell it. */
export class Exchange {
  readonly request: IncomingMessage
  /** Undefined for a stream of HTTP/2. */
  readonly socket: Socket | undefined
  /** `performance.now()` of its beginning. */
  readonly began = performance.now()
  /** Cleaned; as it came when it is refused before. */
  path: string
  /** Undefined: the fallback's, or none takes it. */
  route: Route | undefined
  params: Readonly<Record<string, string>> = NO_PARAMS
  status = 0
  /** Bytes of the response's body. */
  sent = 0
  /** Undefined: nobody traces it. */
  span: Span | undefined

  constructor(request: IncomingMessage, socket: Socket | undefined) {
    this.request = request
    this.socket = socket
    this.path = request.url ?? '/'
  }
}

const EXCHANGE = Symbol('exchange')
type Carrier = ServerResponse & { [EXCHANGE]?: Exchange }

export function setExchange(response: ServerResponse, exchange: Exchange): void {
  ;(response as Carrier)[EXCHANGE] = exchange
}

export function exchangeOf(response: ServerResponse): Exchange {
  return (response as Carrier)[EXCHANGE] as Exchange
}

/** Bytes of a response's body go out. */
export function countSent(response: ServerResponse, bytes: number): void {
  const exchange = (response as Carrier)[EXCHANGE]
  if (exchange) exchange.sent += bytes
}

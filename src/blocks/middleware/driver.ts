import type { Component } from '../../components/component.ts'

/** A request on its way through a pipeline: what one middleware changes, the next one and the receiver see. */
export interface MiddlewareRequest {
  readonly method: string
  /** Percent-encoded, from the root, without the query. */
  path: string
  /** Without `?`. */
  query: string
  /** Of the connection; undefined for requests of this sidecar to the app. */
  readonly remoteAddress: string | undefined
  /** The first value of a header; names in any case. */
  header(name: string): string | undefined
  /** Puts a header in place of all of its name. */
  setHeader(name: string, value: string): void
  /** Reads the body whole; who comes later gets it all the same. Rejects with OutriderError, of HTTP status 413 when it is longer than `limit` bytes. */
  readBody(limit: number): Promise<Buffer>
  /** Sends every character of the request's body through `map`, which keeps its length in bytes. */
  mapBody(map: TextMap): void
  /** The same for the reply's body. */
  mapReply(map: TextMap): void
  /** Hears of the end of a request that passed, once, with the status of its reply; 0: there was none. */
  onEnd(done: (status: number) => void): void
}

export type TextMap = (text: string) => string

/** What a middleware answers in place of the receiver; text unless its headers say otherwise. */
export interface MiddlewareReply {
  status: number
  headers?: Readonly<Record<string, string>>
  body?: string
}

/** One step of an HTTP pipeline. */
export interface Middleware extends Component {
  /** Undefined lets the request pass on. */
  handle(request: MiddlewareRequest): MiddlewareReply | undefined | Promise<MiddlewareReply | undefined>
}

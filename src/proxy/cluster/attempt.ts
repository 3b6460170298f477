/**
 * How an attempt failed. `connect`: nothing was sent. `refused`: the endpoint says it did nothing for it. `overflow`: too many wait here
 * already. `reset`: it was lost on the way. `protocol`: what came was no reply. `invalid`: what the client sent cannot be said in this
 * protocol, which is no fault of the endpoint.
 */
export type Failure = 'connect' | 'refused' | 'overflow' | 'reset' | 'protocol' | 'invalid'

/** Who hears of one attempt at one endpoint: `head`, `data`*, `end`; or `failed`, at any time, as the last. */
export interface AttemptSink {
  /** Names in lower case and values in turn, without those of the connection; Content-Length only where it is true. */
  attemptHead(status: number, fields: string[]): void
  attemptData(chunk: Buffer): void
  attemptEnd(trailers: readonly string[]): void
  attemptFailed(failure: Failure, error: Error): void
  /** After `write` returned false: there is room again. */
  attemptDrained(): void
}

/** What is sent to an endpoint. */
export interface AttemptRequest {
  method: string
  /** Path and query. */
  path: string
  scheme: string
  authority: string
  /** Names in lower case and values in turn; Content-Length among them for a streamed body of known length. */
  fields: string[]
  /** Undefined: none, or streamed. */
  body: Buffer | undefined
  /** The body comes by `write` and `finish`. */
  streams: boolean
}

/** One attempt under way. */
export interface Attempt {
  /** False: wait until the sink hears of room. */
  write(chunk: Buffer): boolean
  /** `trailers`: names in lower case and values in turn; dropped where the body has a declared length in HTTP/1.1. */
  finish(trailers: readonly string[]): void
  /** No more of the reply comes. */
  pause(): void
  resume(): void
  /** Ends it at once; the sink hears nothing more. */
  abort(): void
}

/** Fields of a reply that belong to its connection. */
export const OF_CONNECTION: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
  'trailer',
  'http2-settings',
])

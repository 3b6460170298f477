import type { IncomingHttpHeaders } from 'node:http'

/** The sender's side of one response body: the sink slows it or ends it. */
export interface ResponseSource {
  pause(): void
  resume(): void
  /** Ends the exchange at once; the sink hears nothing more. */
  abort(reason?: Error): void
}

/**
 * Takes one response as it arrives: `head`, then any number of `data`, then `end`; or `failed`, at any moment, once.
 * Hot paths move bytes through sinks because a Readable per request costs more than the request itself.
 */
export interface ResponseSink {
  /** Header names in lower case; values of one name that came several times as an array. */
  head(status: number, headers: IncomingHttpHeaders, source: ResponseSource): void
  data(chunk: Buffer): void
  end(): void
  /** Before `head`: nothing was answered. After it: the body is cut short. */
  failed(error: Error): void
}

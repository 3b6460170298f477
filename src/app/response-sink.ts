import type { IncomingHttpHeaders } from 'node:http'
import type { Any } from '../transport/grpc/status.ts'

/** The sender's side of one response body: the sink slows it or ends it. */
export interface ResponseSource {
  pause(): void
  resume(): void
  /** Ends the exchange at once; the sink hears nothing more. */
  abort(reason?: Error): void
}

/** What the reply of a gRPC app has besides. */
export interface GrpcAnswer {
  /** Of the status; empty when it is OK. */
  message: string
  details: readonly Any[]
  /** `[name, value, …]`, binary values in Base64. */
  trailers: readonly string[]
  /** Type of the data, empty when it has none. */
  typeUrl: string
}

/**
 * Takes one response as it arrives: `head`, then any number of `data`, then `end`; or `failed`, at any moment, once.
 * Hot paths move bytes through sinks because a Readable per request costs more than the request itself.
 */
export interface ResponseSink {
  /**
   * Header names in lower case; values of one name that came several times as an array.
   * A status below 100 is a gRPC code, and `answer` is there.
   */
  head(status: number, headers: IncomingHttpHeaders, source: ResponseSource, answer?: GrpcAnswer): void
  data(chunk: Buffer): void
  end(): void
  /** Before `head`: nothing was answered. After it: the body is cut short. */
  failed(error: Error): void
}

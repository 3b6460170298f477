import type { IncomingHttpHeaders } from 'node:http'
import type { Readable } from 'node:stream'

export interface AppRequest {
  method: string
  /** Percent-encoded path with leading slash, query included. */
  path: string
  headers: Record<string, string | string[]>
  body?: Buffer | Readable | undefined
  signal?: AbortSignal | undefined
  /** Goes past the middleware, as health probes do. */
  direct?: boolean
}

export interface AppResponse {
  status: number
  headers: IncomingHttpHeaders
  /** Must be consumed or destroyed. */
  body: Readable
}

/** The application beside us. Adds the app API token, bounds concurrency. */
export interface AppChannel {
  /** Rejects when the app cannot be reached (connection refused, reset); any status resolves. */
  request(request: AppRequest): Promise<AppResponse>
  /** The same with the body read whole. */
  call(request: AppRequest): Promise<{ status: number; headers: IncomingHttpHeaders; body: Buffer }>
  /** Resolves once the app's port accepts connections. */
  ready(signal: AbortSignal): Promise<void>
}

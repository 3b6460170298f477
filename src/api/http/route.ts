import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http'

/** One request on the API port, already past path cleaning, token and CORS. */
export interface Call {
  readonly method: string
  /** Cleaned, still percent-encoded path without the query. */
  readonly path: string
  /** Decoded route parameters; `*` is the wildcard's. */
  readonly params: Readonly<Record<string, string>>
  /** Query text without `?`. */
  readonly rawQuery: string
  readonly query: URLSearchParams
  readonly headers: IncomingHttpHeaders
  /** `metadata.x=y` of the query as `{x: 'y'}`. */
  metadata(): Record<string, string>
  /** Whole body, at most `--max-body-size` bytes; rejects with 413 past that, 408 when it stops half-way. */
  body(): Promise<Buffer>
  /** Aborted when the client goes away or the sidecar stops hard. */
  readonly signal: AbortSignal
  /** For streaming; a handler that answers itself returns undefined. */
  readonly request: IncomingMessage
  readonly response: ServerResponse
}

export interface Reply {
  status: number
  headers?: OutgoingHttpHeaders
  /** Without content-type in headers: application/json. */
  body?: Buffer | string
}

export type Handler = (call: Call) => Reply | undefined | Promise<Reply | undefined>

export interface Route {
  methods: readonly string[]
  /** With the version; `:name` takes one segment, a last `*` the rest: `/v1.0/state/:storeName/:key`. */
  path: string
  /** Group and version as `spec.api` allow lists name them, e.g. `state`, `v1`; and the API's name, e.g. `GetState`. */
  group: string
  version: string
  name: string
  handler: Handler
}

/** 200 with a JSON body. */
export function json(value: unknown, status = 200): Reply {
  return { status, body: JSON.stringify(value) }
}

export const noContent: Reply = { status: 204 }

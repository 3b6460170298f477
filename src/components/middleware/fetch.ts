import { HttpClient } from '../../transport/http1/client.ts'

/** Larger replies are refused. */
const SIZE_LIMIT = 1024 * 1024
/** Milliseconds for one exchange. */
const PATIENCE = 30_000

export interface FetchRequest {
  method: 'GET' | 'POST' | 'PUT'
  url: string
  headers?: Readonly<Record<string, string>>
  body?: string
  signal?: AbortSignal | undefined
}

export interface FetchReply {
  status: number
  contentType: string
  body: string
}

/** Small exchanges with identity providers and policy servers, over connections of their own. */
export class Fetcher implements AsyncDisposable {
  readonly #client = new HttpClient({ connections: 4, redirections: 10, silenceTimeout: PATIENCE })

  async fetch({ method, url, headers, body, signal }: FetchRequest): Promise<FetchReply> {
    const target = new URL(url)
    const patience = AbortSignal.timeout(PATIENCE)
    const reply = await this.#client.request({
      url: target,
      method,
      headers: headers ?? {},
      body,
      signal: signal ? AbortSignal.any([signal, patience]) : patience,
      limit: SIZE_LIMIT,
      tooLarge: () => new Error(`${target.origin} answered with more than ${SIZE_LIMIT} bytes`),
    })
    return { status: reply.status, contentType: String(reply.headers['content-type'] ?? ''), body: reply.body.toString() }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#client[Symbol.asyncDispose]()
  }
}

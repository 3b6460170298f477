import { Agent, type Dispatcher, interceptors } from 'undici'

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
  readonly #agent = new Agent({ connections: 4, headersTimeout: PATIENCE, bodyTimeout: PATIENCE, connect: { timeout: 10_000 } })
  readonly #dispatcher: Dispatcher = this.#agent.compose(interceptors.redirect({ maxRedirections: 10 }))

  async fetch({ method, url, headers, body, signal }: FetchRequest): Promise<FetchReply> {
    const { origin, pathname, search } = new URL(url)
    const limit = AbortSignal.timeout(PATIENCE)
    const reply = await this.#dispatcher.request({
      origin,
      path: pathname + search,
      method,
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
      ...(headers && { headers }),
      ...(body !== undefined && { body }),
    })
    const chunks: Buffer[] = []
    let size = 0
    for await (const chunk of reply.body as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > SIZE_LIMIT) throw new Error(`${origin} answered with more than ${SIZE_LIMIT} bytes`)
      chunks.push(chunk)
    }
    return {
      status: reply.statusCode,
      contentType: String(reply.headers['content-type'] ?? ''),
      body: Buffer.concat(chunks, size).toString(),
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#agent.destroy()
  }
}

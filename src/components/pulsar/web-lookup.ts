import { messageOf } from '../../errors.ts'
import { HttpClient } from '../../transport/http1/client.ts'
import type { ConnectionOptions } from './dial.ts'
import { PulsarError, UnreachableError } from './errors.ts'

const MOST_ANSWER = 1 << 20

/** Lookups at the brokers' web port, for a `host` of http:// or https://. */
export class WebLookup implements AsyncDisposable {
  readonly #base: string
  readonly #options: ConnectionOptions
  readonly #http: HttpClient

  constructor(base: string, options: ConnectionOptions) {
    this.#base = base
    this.#options = options
    const { tls, timeout } = options
    this.#http = new HttpClient({
      connections: 1,
      connectTimeout: timeout,
      redirections: 5,
      silenceTimeout: timeout,
      ...(tls ? { tls } : {}),
    })
  }

  /** Whether somebody answers there. */
  async greet(): Promise<void> {
    await this.#get('/lookup/v2/topic/persistent/public/default/greeting', true)
  }

  async partitions(topic: string): Promise<number> {
    const { partitions } = await this.#get(`/admin/v2/${topic.replace('://', '/')}/partitions?checkAllowAutoCreation=true`)
    return Number(partitions) || 0
  }

  /** URL of the broker that serves the topic. */
  async serving(topic: string, listener: string): Promise<string> {
    const query = listener ? `?listenerName=${encodeURIComponent(listener)}` : ''
    const found = await this.#get(`/lookup/v2/topic/${topic.replace('://', '/')}${query}`)
    return String((this.#options.tls && found.brokerUrlTls) || found.brokerUrl || found.brokerUrlTls || '')
  }

  async #get(path: string, whatever = false): Promise<Record<string, unknown>> {
    const { auth, timeout } = this.#options
    const headers: Record<string, string> = auth ? { authorization: `Bearer ${await auth.data()}` } : {}
    let status: number
    let text: string
    try {
      const reply = await this.#http.request({
        url: new URL(this.#base + path),
        method: 'GET',
        headers,
        signal: AbortSignal.timeout(timeout),
        limit: MOST_ANSWER,
        tooLarge: () => new Error(`it answers with more than ${MOST_ANSWER} bytes`),
      })
      status = reply.status
      text = reply.body.toString()
    } catch (error) {
      throw new UnreachableError(`${this.#base} does not answer: ${messageOf(error)}`, { cause: error })
    }
    if (status === 401) throw new PulsarError(3, `${this.#base} does not let us in`)
    if (whatever && status < 500) return {}
    if (status >= 500) throw new PulsarError(6, `${this.#base} answers ${status}`)
    if (status !== 200) throw new PulsarError(status === 403 ? 4 : 11, `${this.#base} answers ${status}`)
    try {
      return JSON.parse(text) as Record<string, unknown>
    } catch {
      throw new UnreachableError(`${this.#base} answers with what is no JSON: check the port in host`)
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#http[Symbol.asyncDispose]()
  }
}

import { hostname } from 'node:os'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { messageOf } from '../../../errors.ts'
import { HttpClient, type WholeReply } from '../../../transport/http1/client.ts'
import type { RoleContext } from '../../role.ts'
import type { WebSpec } from '../spec.ts'
import { milliseconds, secretOf, tlsOptions } from '../values.ts'
import { RefusedError } from './sink.ts'

const compress = promisify(gzip)
/** Bytes of an answer. */
const ANSWER = 64 << 20

export interface WebRequest {
  method: 'POST' | 'PUT'
  contentType: string
  body: string | Buffer
  signal: AbortSignal
}

/** Posts to one of several servers, with what outputs over HTTP share: headers, authentication, TLS, compression. */
export class Web implements AsyncDisposable {
  readonly #client: HttpClient
  readonly #urls: readonly URL[]
  readonly #headers: Readonly<Record<string, string>>
  readonly #gzip: boolean
  readonly #timeout: number
  /** The server that answered last. */
  #at = 0

  private constructor(urls: readonly URL[], headers: Readonly<Record<string, string>>, spec: WebSpec) {
    this.#urls = urls
    this.#headers = headers
    this.#gzip = spec.gzip ?? false
    this.#timeout = milliseconds(spec.requestTimeout, 30_000)
    this.#client = new HttpClient({ connections: 2, tls: tlsOptions(spec.tls) })
  }

  /** `urls` are whole, path and query included. Rejects for one that is none, and for a secret that is missing. */
  static async open(
    urls: readonly string[],
    spec: WebSpec,
    where: string,
    context: RoleContext,
    more: Readonly<Record<string, string>> = {},
  ): Promise<Web> {
    const parsed = urls.map((text) => {
      if (!/^https?:\/\//.test(text) || !URL.canParse(text)) throw new Error(`${where}: ${text} is no http:// or https:// URL`)
      return new URL(text)
    })
    const headers: Record<string, string> = { 'user-agent': `outrider (${hostname()})`, ...more }
    const [first] = parsed
    const user = spec.user ?? (first?.username ? decodeURIComponent(first.username) : undefined)
    const password = (await secretOf(spec.password, `${where}.password`, context)) ?? decodeURIComponent(first?.password ?? '')
    if (user !== undefined) headers.authorization = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
    for (const [name, secret] of Object.entries(spec.headers ?? {}))
      headers[name.toLowerCase()] = (await secretOf(secret, `${where}.headers.${name}`, context)) ?? ''
    return new Web(parsed, headers, spec)
  }

  /** Resolves with an answer that says yes. Rejects with RefusedError when the events are at fault (400, 413, 422), else with what to wait for. */
  async send({ method, contentType, body, signal }: WebRequest): Promise<WholeReply> {
    const plain = typeof body === 'string' ? Buffer.from(body) : body
    const packed = this.#gzip ? await compress(plain, { level: 1 }) : plain
    const headers = {
      ...this.#headers,
      'content-type': contentType,
      'content-length': String(packed.length),
      ...(this.#gzip && { 'content-encoding': 'gzip' }),
    }
    let failure: unknown
    for (let tried = 0; tried < this.#urls.length; tried++) {
      const url = this.#urls[this.#at] as URL
      try {
        const reply = await this.#client.request({
          method,
          url,
          headers,
          body: packed,
          signal: AbortSignal.any([signal, AbortSignal.timeout(this.#timeout)]),
          limit: ANSWER,
          tooLarge: () => new Error(`${url.origin} answered with more than ${ANSWER} bytes`),
        })
        if (reply.status < 300) return reply
        const reason = `${url.origin} answered ${reply.status} ${reply.body.toString('utf8', 0, 300).trim()}`
        if (reply.status === 400 || reply.status === 413 || reply.status === 422) throw new RefusedError(reason)
        throw new Error(reason)
      } catch (error) {
        if (error instanceof RefusedError || signal.aborted) throw error
        failure = error
        this.#at = (this.#at + 1) % this.#urls.length
      }
    }
    const message = messageOf(failure)
    throw new Error(
      this.#urls.some(({ origin }) => message.includes(origin))
        ? message
        : `${this.#urls.map(({ origin }) => origin).join(', ')}: ${message}`,
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client[Symbol.asyncDispose]()
  }
}

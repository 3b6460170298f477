import { setTimeout as pause } from 'node:timers/promises'
import { messageOf } from '../../errors.ts'
import { HttpClient, type WholeReply } from '../../transport/http1/client.ts'
import { percentEncoded } from '../aws/sign.ts'
import { parseXml, textIn } from '../aws/xml.ts'
import { isUnreachable } from '../unreachable.ts'
import type { BlobSettings } from './blob-settings.ts'
import { sharedKey, VERSION } from './storage-key.ts'

export interface BlobRequest {
  method: string
  /** undefined: the container itself. */
  blob?: string
  query?: readonly (readonly [name: string, value: string])[]
  /** Names in lower case. */
  headers?: Readonly<Record<string, string>>
  body?: Buffer
}

/** What the service answers instead of a result. */
export class BlobError extends Error {
  override readonly name = 'BlobError'
  /** e.g. `BlobNotFound`. */
  readonly code: string

  constructor(what: string, { status, reason, headers, body }: WholeReply) {
    let words = reason
    let code = headers['x-ms-error-code'] as string | undefined
    try {
      const error = parseXml(body.toString())
      code ??= textIn(error, 'Code')
      // The first line; after it come the request's id and time.
      words = textIn(error, 'Message')?.split('\n')[0] ?? reason
    } catch {
      // No words of Azure: to HEAD there are none.
    }
    code ??= status === 404 ? 'NotFound' : 'UnknownError'
    super(`${what}: status ${status}, ${code}: ${words}`)
    this.code = code
  }
}

/** Bytes of one reply. */
const LIMIT = 1 << 30
/** Milliseconds without a byte, the pause before the second try (doubled after each, with jitter), its bound. */
const SILENCE = 60_000
const PAUSE = 400
const LONGEST = 10_000
const CONNECTIONS = 64

/** Requests to one container of Blob Storage, signed, and repeated where that may help. Errors are BlobError, or say that it cannot be reached. */
export class BlobClient implements AsyncDisposable {
  readonly #settings: BlobSettings
  readonly #http = new HttpClient({ connections: CONNECTIONS, silenceTimeout: SILENCE })

  constructor(settings: BlobSettings) {
    this.#settings = settings
  }

  /** Makes the container where it is not there; else asks whether it is. */
  async open(signal: AbortSignal): Promise<void> {
    const { managed, name, publicAccess } = this.#settings
    if (!managed) return
    const headers: Record<string, string> = publicAccess === undefined ? {} : { 'x-ms-blob-public-access': publicAccess }
    try {
      await this.send({ method: 'PUT', query: [['restype', 'container']], headers }, signal)
    } catch (error) {
      if (error instanceof BlobError && /^(Container|Resource)AlreadyExists$/.test(error.code)) return
      throw new Error(`failed to create Azure Storage container ${name}: ${messageOf(error)}`, { cause: error })
    }
  }

  async ping(signal?: AbortSignal): Promise<void> {
    try {
      await this.send({ method: 'GET', query: [['restype', 'container']] }, signal)
    } catch (error) {
      throw new Error(`error connecting to Azure Blob Storage at '${this.#settings.container.href}': ${messageOf(error)}`, { cause: error })
    }
  }

  async send(request: BlobRequest, signal?: AbortSignal): Promise<WholeReply> {
    const { container, name, retries } = this.#settings
    const what = `${request.method} ${container.host} ${name}${request.blob === undefined ? '' : ` ${request.blob}`}`
    for (let attempt = 0; ; attempt++) {
      try {
        const reply = await this.#once(request, signal)
        if (reply.status >= 200 && reply.status < 300) return reply
        const passes = reply.status >= 500 || reply.status === 429 || reply.status === 408
        if (attempt >= retries || !passes) throw new BlobError(what, reply)
      } catch (error) {
        if (error instanceof BlobError || signal?.aborted) throw error
        if (attempt >= retries || !isUnreachable(error))
          throw new Error(`${what}: no answer of ${container.host}: ${messageOf(error)}`, { cause: error })
      }
      await pause(Math.min(LONGEST, PAUSE * 2 ** attempt) * (0.5 + Math.random() / 2), undefined, { signal })
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#http[Symbol.asyncDispose]()
  }

  #pathOf(blob: string | undefined): string {
    const { container } = this.#settings
    return blob === undefined ? container.pathname : `${container.pathname}/${percentEncoded(blob, '/')}`
  }

  #once({ method, blob, query = [], headers = {}, body }: BlobRequest, signal: AbortSignal | undefined): Promise<WholeReply> {
    const { container, key, signature } = this.#settings
    const path = this.#pathOf(blob)
    const sent: Record<string, string> = { ...headers, 'x-ms-version': VERSION, 'x-ms-date': new Date().toUTCString() }
    if (method === 'PUT' || body) sent['content-length'] = String(body?.length ?? 0)
    if (key) sent.authorization = sharedKey({ method, path, query, headers: sent }, key)
    const asked = query.map(([name, value]) => `${percentEncoded(name)}=${percentEncoded(value)}`)
    const search = [...asked, ...(key || signature === '' ? [] : [signature])].join('&')
    return this.#http.request({
      method,
      url: container,
      path: search === '' ? path : `${path}?${search}`,
      headers: sent,
      body,
      signal,
      limit: LIMIT,
      tooLarge: () => new Error(`the blob is larger than ${LIMIT} bytes`),
    })
  }
}

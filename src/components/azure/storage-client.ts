import { setTimeout as pause } from 'node:timers/promises'
import { messageOf } from '../../errors.ts'
import { HttpClient, type WholeReply } from '../../transport/http1/client.ts'
import { percentEncoded } from '../aws/sign.ts'
import { parseXml, textIn } from '../aws/xml.ts'
import { isUnreachable } from '../unreachable.ts'
import type { Entra } from './entra.ts'
import { type StorageKey, sharedKey, VERSION } from './storage-key.ts'

/** A container, queue or table service, and how to get in. */
export interface StoragePlace {
  /** Of the container or queue, without a slash at its end; of tables, the account. */
  place: URL
  name: string
  key: StorageKey | undefined
  /** How the key signs; tables have another way than blobs and queues, which is the default. */
  sign?: typeof sharedKey
  /** A shared access signature, as a query; in place of a key. */
  signature: string
  /** Signing in, without key and signature. */
  entra: Entra | undefined
  retries: number
}

export interface StorageRequest {
  method: string
  /** Of a blob or message below the place; undefined: the place itself. */
  blob?: string
  /** In place of `blob`, where it is percent-encoded already; of tables. */
  path?: string
  query?: readonly (readonly [name: string, value: string])[]
  /** Names in lower case. */
  headers?: Readonly<Record<string, string>>
  body?: Buffer
}

/** What the service answers instead of a result. */
export class StorageError extends Error {
  override readonly name = 'StorageError'
  /** e.g. `BlobNotFound`. */
  readonly code: string

  constructor(what: string, { status, reason, headers, body }: WholeReply) {
    const { code, message } = wordsOf(body)
    const name = String(headers['x-ms-error-code'] || code || (status === 404 ? 'NotFound' : 'UnknownError'))
    // The first line; after it come the request's id and time.
    super(`${what}: status ${status}, ${name}: ${message?.split('\n')[0] ?? reason}`)
    this.code = name
  }
}

/** XML, or JSON of tables; nothing where Azure has no words, as to HEAD. */
function wordsOf(body: Buffer): { code?: string | undefined; message?: string | undefined } {
  const text = body.toString()
  try {
    if (!text.startsWith('{')) {
      const error = parseXml(text)
      return { code: textIn(error, 'Code'), message: textIn(error, 'Message') }
    }
    const error = (JSON.parse(text) as { 'odata.error'?: { code?: string; message?: { value?: string } } })['odata.error']
    return { code: error?.code, message: error?.message?.value }
  } catch {
    return {}
  }
}

/** Bytes of one reply. */
const LIMIT = 1 << 30
/** Milliseconds without a byte, the pause before the second try (doubled after each, with jitter), its bound. */
const SILENCE = 60_000
const PAUSE = 400
const LONGEST = 10_000
const CONNECTIONS = 64

/** Requests to one container of Blob Storage, or queue of Queue Storage, signed, and repeated where that may help. Errors are StorageError, or say that it cannot be reached. */
export class StorageClient implements AsyncDisposable {
  readonly #settings: StoragePlace
  readonly #http = new HttpClient({ connections: CONNECTIONS, silenceTimeout: SILENCE })

  constructor(settings: StoragePlace) {
    this.#settings = settings
  }

  async send(request: StorageRequest, signal?: AbortSignal): Promise<WholeReply> {
    const { place, name, retries } = this.#settings
    const below = request.blob === undefined ? name : `${name} ${request.blob}`
    const what = `${request.method} ${place.host} ${request.path ?? below}`
    let renewed = false
    for (let attempt = 0; ; attempt++) {
      try {
        const reply = await this.#once(request, signal)
        if (reply.status >= 200 && reply.status < 300) return reply
        if (reply.status === 401 && this.#settings.entra && !renewed) {
          renewed = true
          this.#settings.entra.drop()
          continue
        }
        const passes = reply.status >= 500 || reply.status === 429 || reply.status === 408
        if (attempt >= retries || !passes) throw new StorageError(what, reply)
      } catch (error) {
        if (error instanceof StorageError || signal?.aborted) throw error
        if (attempt >= retries || !isUnreachable(error))
          throw new Error(`${what}: no answer of ${place.host}: ${messageOf(error)}`, { cause: error })
      }
      await pause(Math.min(LONGEST, PAUSE * 2 ** attempt) * (0.5 + Math.random() / 2), undefined, { signal })
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#http[Symbol.asyncDispose](), this.#settings.entra?.[Symbol.asyncDispose]()])
  }

  #pathOf({ blob, path }: StorageRequest): string {
    const { pathname } = this.#settings.place
    const below = path ?? (blob === undefined ? undefined : percentEncoded(blob, '/'))
    return below === undefined ? pathname : `${pathname === '/' ? '' : pathname}/${below}`
  }

  async #once(request: StorageRequest, signal: AbortSignal | undefined): Promise<WholeReply> {
    const { method, query = [], headers = {}, body } = request
    const { place, key, sign = sharedKey, signature, entra } = this.#settings
    const path = this.#pathOf(request)
    const sent: Record<string, string> = { ...headers, 'x-ms-version': VERSION, 'x-ms-date': new Date().toUTCString() }
    if (method === 'PUT' || body) sent['content-length'] = String(body?.length ?? 0)
    if (key) sent.authorization = sign({ method, path, query, headers: sent }, key)
    else if (entra) sent.authorization = `Bearer ${await entra.token(signal)}`
    const asked = query.map(([name, value]) => `${percentEncoded(name)}=${percentEncoded(value)}`)
    const search = [...asked, ...(key || signature === '' ? [] : [signature])].join('&')
    return this.#http.request({
      method,
      url: place,
      path: search === '' ? path : `${path}?${search}`,
      headers: sent,
      body,
      signal,
      limit: LIMIT,
      tooLarge: () => new Error(`the answer is larger than ${LIMIT} bytes`),
    })
  }
}

import { createHash, sign } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { messageOf } from '../../../errors.ts'
import { HttpClient, type WholeReply } from '../../../transport/http1/client.ts'
import { percentEncoded } from '../../aws/sign.ts'
import { GoogleCredentials } from '../../gcp/credentials.ts'
import { isUnreachable } from '../../unreachable.ts'
import type { StoredObject } from './attributes.ts'
import type { BucketSettings } from './settings.ts'

/** Bytes of one reply. */
const LIMIT = 1 << 30
/** Further tries, the pause before the first (doubled after each, with jitter) and its bound; milliseconds. */
const RETRIES = 3
const PAUSE = 500
const LONGEST = 10_000
/** Seconds that a signed URL may be good for. */
const WEEK = 7 * 86_400

/** What Cloud Storage answers instead of a result. */
export class BucketError extends Error {
  override readonly name = 'BucketError'
  readonly status: number

  constructor(what: string, { status, reason, body }: WholeReply) {
    let words = reason
    try {
      words = String((JSON.parse(body.toString()) as { error?: { message?: string } }).error?.message ?? reason)
    } catch {
      // To media requests it answers with a plain text.
      if (body.length > 0 && body.length < 500) words = body.toString().trim()
    }
    super(`${what}: status ${status}: ${words}`)
    this.status = status
  }
}

export interface ListQuery {
  prefix: string
  delimiter: string
  most: number
}

/** The objects of one bucket, by Cloud Storage's JSON API. */
export class GoogleBucket implements AsyncDisposable {
  readonly #settings: BucketSettings
  readonly #credentials: GoogleCredentials
  readonly #http = new HttpClient({ connections: 32, silenceTimeout: 60_000 })

  constructor(settings: BucketSettings) {
    this.#settings = settings
    this.#credentials = new GoogleCredentials(settings.identity)
  }

  async open(signal: AbortSignal): Promise<void> {
    if (this.#settings.signed) await this.#credentials.token(signal)
  }

  async ping(signal: AbortSignal): Promise<void> {
    await this.#send('GET', `${this.#path(this.#settings.bucket)}?maxResults=1`, {}, undefined, signal).catch((error: unknown) => {
      // That the account may not list is an answer.
      if (!(error instanceof BucketError && error.status === 403)) throw error
    })
  }

  async put(name: string, data: Buffer, contentType: string, signal?: AbortSignal): Promise<void> {
    const path = `/upload/storage/v1/b/${percentEncoded(this.#settings.bucket)}/o?uploadType=media&name=${percentEncoded(name)}`
    const headers = { 'content-type': contentType, 'content-length': String(data.length) }
    await this.#send('POST', path, headers, data, signal)
  }

  async get(name: string, signal?: AbortSignal): Promise<Buffer> {
    return (await this.#send('GET', `${this.#path(this.#settings.bucket, name)}?alt=media`, {}, undefined, signal)).body
  }

  async delete(name: string, signal?: AbortSignal): Promise<void> {
    await this.#send('DELETE', this.#path(this.#settings.bucket, name), {}, undefined, signal)
  }

  /** Up to `most` objects, and common prefixes behind the objects of each page. */
  async list({ prefix, delimiter, most }: ListQuery, signal?: AbortSignal): Promise<StoredObject[]> {
    const found: StoredObject[] = []
    let token = ''
    do {
      const query = new URLSearchParams({
        projection: 'full',
        prefix,
        delimiter,
        pageToken: token,
        maxResults: String(Math.min(most, 1000)),
      })
      const { body } = await this.#send('GET', `${this.#path(this.#settings.bucket)}?${query}`, {}, undefined, signal)
      const page = JSON.parse(body.toString()) as { items?: StoredObject[]; prefixes?: string[]; nextPageToken?: string }
      found.push(...(page.items ?? []), ...(page.prefixes ?? []).map((one) => ({ name: '', prefix: one })))
      token = page.nextPageToken ?? ''
    } while (token !== '' && found.length < most)
    return found.slice(0, most)
  }

  /** Copies an object, which Google may do in several steps. */
  async copy(name: string, bucket: string, key: string, signal?: AbortSignal): Promise<void> {
    const base = `${this.#path(this.#settings.bucket, name)}/rewriteTo/b/${percentEncoded(bucket)}/o/${percentEncoded(key)}`
    for (let token = ''; ; ) {
      const path = token === '' ? base : `${base}?rewriteToken=${percentEncoded(token)}`
      const { body } = await this.#send('POST', path, { 'content-length': '0' }, undefined, signal)
      const step = JSON.parse(body.toString()) as { done?: boolean; rewriteToken?: string }
      if (step.done !== false || !step.rewriteToken) return
      token = step.rewriteToken
    }
  }

  /**
   * A URL by which anyone can read an object for a while (V4, with the service account's key).
   * https://cloud.google.com/storage/docs/access-control/signing-urls-manually
   */
  signedUrl(name: string, seconds: number, now = new Date()): string {
    const { identity, bucket } = this.#settings
    if (identity.kind !== 'account') throw new Error("it takes a service account's key: give privateKeyID, privateKey and clientEmail")
    if (seconds > WEEK) throw new Error('storage: expires must be within seven days from now')
    const time = now.toISOString().replace(/[-:]|\.\d+/g, '')
    const scope = `${time.slice(0, 8)}/auto/storage/goog4_request`
    const host = 'storage.googleapis.com'
    const path = `/${bucket}/${percentEncoded(name, '/')}`
    const query = [
      ['X-Goog-Algorithm', 'GOOG4-RSA-SHA256'],
      ['X-Goog-Credential', `${identity.email}/${scope}`],
      ['X-Goog-Date', time],
      ['X-Goog-Expires', String(seconds)],
      ['X-Goog-SignedHeaders', 'host'],
    ].map(([key, value]) => `${key}=${percentEncoded(value as string)}`)
    const request = ['GET', path, query.join('&'), `host:${host}`, '', 'host', 'UNSIGNED-PAYLOAD'].join('\n')
    const text = ['GOOG4-RSA-SHA256', time, scope, createHash('sha256').update(request).digest('hex')].join('\n')
    const signature = sign('sha256', Buffer.from(text), identity.key).toString('hex')
    return `https://${host}${path}?${query.join('&')}&X-Goog-Signature=${signature}`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#http[Symbol.asyncDispose](), this.#credentials[Symbol.asyncDispose]()])
  }

  #path(bucket: string, name?: string): string {
    const base = `/storage/v1/b/${percentEncoded(bucket)}/o`
    return name === undefined ? base : `${base}/${percentEncoded(name)}`
  }

  async #send(
    method: string,
    path: string,
    more: Readonly<Record<string, string>>,
    body: Buffer | undefined,
    signal: AbortSignal | undefined,
  ): Promise<WholeReply> {
    const { base, signed } = this.#settings
    const what = `${method} ${base.host}${path.split('?')[0]}`
    const tooLarge = () => new Error(`the object is larger than ${LIMIT} bytes`)
    let renewed = false
    for (let attempt = 0; ; attempt++) {
      try {
        const headers = { ...more, ...(signed && { authorization: `Bearer ${await this.#credentials.token(signal)}` }) }
        const reply = await this.#http.request({ method, url: base, path, headers, body, signal, limit: LIMIT, tooLarge })
        if (reply.status >= 200 && reply.status < 300) return reply
        if (reply.status === 401 && signed && !renewed) {
          renewed = true
          this.#credentials.drop()
          continue
        }
        const passes = reply.status >= 500 || reply.status === 429 || reply.status === 408
        if (attempt >= RETRIES || !passes) throw new BucketError(what, reply)
      } catch (error) {
        if (error instanceof BucketError || signal?.aborted) throw error
        if (attempt >= RETRIES || !isUnreachable(error))
          throw new Error(`${what}: no answer of ${base.host}: ${messageOf(error)}`, { cause: error })
      }
      await pause(Math.min(LONGEST, PAUSE * 2 ** attempt) * (0.5 + Math.random() / 2), undefined, { signal })
    }
  }
}

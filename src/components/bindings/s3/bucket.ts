import { createHash } from 'node:crypto'
import type { AwsClient, Service } from '../../aws/client.ts'
import { AwsError } from '../../aws/errors.ts'
import type { Account } from '../../aws/open.ts'
import { percentEncoded, presignedQuery } from '../../aws/sign.ts'
import { allIn, escaped, parseXml, textIn, type XmlElement } from '../../aws/xml.ts'
import { PART, partsOf, type Source } from '../parts.ts'
import type { S3Settings } from './settings.ts'

const S3: Service = { name: 'S3', host: 's3', id: 'S3' }
/** Bytes of one object that is read into memory. */
const LARGEST = 1 << 30
/** Pieces of an upload under way at once. */
const PARALLEL = 5

export interface Saved {
  location: string
  version: string | null
}

/** The bucket over S3's REST API. */
export class Bucket {
  readonly #client: AwsClient
  readonly #account: Account
  readonly #settings: S3Settings

  constructor(account: Account, settings: S3Settings) {
    this.#account = account
    this.#settings = settings
    this.#client = account.client(S3, settings.insecure ? { rejectUnauthorized: false } : undefined)
  }

  /** The object's bytes. Rejects with `object not found`. */
  async get(key: string, signal?: AbortSignal): Promise<Buffer> {
    try {
      return (await this.#send('GetObject', 'GET', key, {}, signal, LARGEST)).body
    } catch (error) {
      throw error instanceof AwsError && error.code === 'NoSuchKey' ? new Error('object not found', { cause: error }) : error
    }
  }

  async delete(key: string, signal?: AbortSignal): Promise<void> {
    await this.#send('DeleteObject', 'DELETE', key, {}, signal)
  }

  /** Up to 1,000 keys in one request; the errors by key. */
  async deleteMany(keys: readonly string[], signal?: AbortSignal): Promise<Map<string, string>> {
    const objects = keys.map((key) => `<Object><Key>${escaped(key)}</Key></Object>`).join('')
    const body = Buffer.from(`<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${objects}<Quiet>true</Quiet></Delete>`)
    const headers = { 'content-type': 'application/xml', 'content-md5': createHash('md5').update(body).digest('base64') }
    const reply = await this.#send('DeleteObjects', 'POST', '', { query: [['delete', '']], headers, body }, signal)
    return new Map(
      allIn(parseXml(reply.body.toString()), 'Error').map((one) => [textIn(one, 'Key') ?? '', textIn(one, 'Message') ?? 'unknown error']),
    )
  }

  async list(query: readonly (readonly [string, string])[], signal?: AbortSignal): Promise<XmlElement> {
    return parseXml((await this.#send('ListObjects', 'GET', '', { query }, signal)).body.toString())
  }

  /** Saves an object: in one request, or in several from two pieces on. Nothing is left of one that fails. */
  async put(key: string, source: Source, base64: boolean, headers: Record<string, string>, signal?: AbortSignal): Promise<Saved> {
    const parts = partsOf(source, base64)
    const first = (await parts.next()).value as Buffer
    const second = first.length < PART ? undefined : ((await parts.next()).value as Buffer | undefined)
    if (second !== undefined) return this.#putParts(key, [first, second], parts, headers, signal)
    const reply = await this.#send('PutObject', 'PUT', key, { headers, body: first }, signal)
    return { location: this.#urlOf(key), version: versionOf(reply.headers) }
  }

  /** A URL that anyone may read the object by for so many seconds. */
  async presign(key: string, seconds: number, signal?: AbortSignal): Promise<string> {
    const { endpoint, path } = this.#placeOf(key)
    const whole = `${endpoint.pathname.replace(/\/+$/, '')}${path}`
    const request = { method: 'GET', host: endpoint.host, path: whole, query: [['x-id', 'GetObject']] as const, headers: {} }
    const scope = { region: this.#settings.account.region, service: 's3', now: this.#client.now }
    return `${endpoint.origin}${whole}?${presignedQuery(request, seconds, await this.#account.key(signal), scope)}`
  }

  async #putParts(
    key: string,
    held: Buffer[],
    more: AsyncGenerator<Buffer>,
    headers: Record<string, string>,
    signal?: AbortSignal,
  ): Promise<Saved> {
    const begun = await this.#send('CreateMultipartUpload', 'POST', key, { query: [['uploads', '']], headers }, signal)
    const id = textIn(parseXml(begun.body.toString()), 'UploadId') ?? ''
    const tags: string[] = []
    let count = 0
    const next = async (): Promise<readonly [number, Buffer] | undefined> => {
      const number = ++count
      const part = held.shift() ?? ((await more.next()).value as Buffer | undefined)
      return part && [number, part]
    }
    const worker = async () => {
      for (let part = await next(); part; part = await next()) {
        const [number, body] = part
        const query = [
          ['partNumber', String(number)],
          ['uploadId', id],
        ] as const
        const reply = await this.#send('UploadPart', 'PUT', key, { query, body }, signal)
        tags[number - 1] = String(reply.headers.etag ?? '')
      }
    }
    try {
      await Promise.all(Array.from({ length: PARALLEL }, worker))
      const list = tags.map((tag, index) => `<Part><PartNumber>${index + 1}</PartNumber><ETag>${escaped(tag)}</ETag></Part>`).join('')
      const body = Buffer.from(`<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${list}</CompleteMultipartUpload>`)
      const query = [['uploadId', id]] as const
      const reply = await this.#send(
        'CompleteMultipartUpload',
        'POST',
        key,
        { query, body, headers: { 'content-type': 'application/xml' } },
        signal,
      )
      const result = parseXml(reply.body.toString())
      // S3 may find out late that it fails, after it has answered 200.
      if (result.name === 'Error') throw new Error(`${textIn(result, 'Code')}: ${textIn(result, 'Message')}`)
      return { location: textIn(result, 'Location') || this.#urlOf(key), version: versionOf(reply.headers) }
    } catch (error) {
      await this.#send('AbortMultipartUpload', 'DELETE', key, { query: [['uploadId', id]] }, AbortSignal.timeout(10_000)).catch(
        () => undefined,
      )
      throw error
    }
  }

  #send(
    operation: string,
    method: string,
    key: string,
    more: Pick<Parameters<AwsClient['rest']>[0], 'query' | 'headers' | 'body'>,
    signal?: AbortSignal,
    limit?: number,
  ) {
    return this.#client.rest({ operation, method, ...this.#placeOf(key), ...more }, signal, limit)
  }

  #placeOf(key: string): { endpoint: URL; path: string } {
    const { bucket, pathStyle } = this.#settings
    const { endpoint } = this.#client
    const path = `/${percentEncoded(key, '/')}`
    // A host of one name is all that a certificate's wildcard covers, and an address takes no name before it.
    const asHost = /^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/.test(bucket) && !/^[\d.]+$|^\[/.test(endpoint.hostname)
    if (pathStyle || !asHost) return { endpoint, path: `/${percentEncoded(bucket)}${key === '' ? '' : path}` }
    const host = new URL(endpoint)
    host.hostname = `${bucket}.${endpoint.hostname}`
    return { endpoint: host, path }
  }

  /** As daprd tells it: the name as it is, not percent-encoded. */
  #urlOf(key: string): string {
    const { endpoint, path } = this.#placeOf('')
    const base = `${endpoint.origin}${endpoint.pathname.replace(/\/+$/, '')}${path === '/' ? '' : path}`
    return `${base}/${key}`
  }
}

function versionOf(headers: Readonly<Record<string, unknown>>): string | null {
  const version = headers['x-amz-version-id']
  return typeof version === 'string' && version !== 'null' ? version : null
}

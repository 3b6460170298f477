import { setTimeout as pause } from 'node:timers/promises'
import type { ConnectionOptions } from 'node:tls'
import { HttpClient, type WholeReply } from '../../transport/http1/client.ts'
import { isUnreachable } from '../unreachable.ts'
import { AwsError, faultOf, isSkewed, passes } from './errors.ts'
import { type AwsKey, canonicalQuery, type Signable, signedHeaders } from './sign.ts'
import { parseXml, type XmlElement } from './xml.ts'

/** One service of AWS: how it is spoken to. */
export interface Service {
  /** As AWS's SDKs name it in errors, e.g. `DynamoDB`. */
  name: string
  /** First part of its host, e.g. `dynamodb`. */
  host: string
  /** Its name in signatures, where it is not the host. */
  signing?: string
  /** As AWS_ENDPOINT_URL_<ID> names it. */
  id: string
  /** JSON: what stands before the operation in X-Amz-Target, and the version of the protocol. */
  target?: { prefix: string; version: '1.0' | '1.1' }
  /** Query: version of the API. */
  version?: string
}

export interface AwsClientOptions {
  service: Service
  region: string
  endpoint: URL
  /** Asked for each request; undefined: it goes out unsigned. */
  key: ((signal?: AbortSignal) => Promise<AwsKey>) | undefined
  tls?: ConnectionOptions | undefined
  connections?: number
}

export interface RestRequest {
  operation: string
  method: string
  /** Where it goes, if not to the service's endpoint. */
  endpoint?: URL | undefined
  /** Percent-encoded, from the endpoint on. */
  path: string
  query?: Signable['query']
  headers?: Record<string, string>
  body?: Buffer | undefined
}

/** Bytes of one reply; objects of S3 may be larger, see `limit`. */
const LIMIT = 64 << 20
/** As AWS's SDKs: tries of one request, the pause before the second (doubled after each, with jitter), its bound. Milliseconds. */
const TRIES = 3
const PAUSE = 100
const LONGEST = 5000
/** Milliseconds without a byte; a long poll waits for 20 s. */
const SILENCE = 60_000
const CONNECTIONS = 64

/** Requests to one service, signed, and repeated where that may help. Errors are AwsError, or say that the service cannot be reached. */
export class AwsClient implements AsyncDisposable {
  readonly endpoint: URL
  readonly #options: AwsClientOptions
  readonly #http: HttpClient
  /** The service's clock less ours, milliseconds. */
  #skew = 0

  constructor(options: AwsClientOptions) {
    this.#options = options
    this.endpoint = options.endpoint
    this.#http = new HttpClient({
      connections: options.connections ?? CONNECTIONS,
      silenceTimeout: SILENCE,
      ...(options.tls && { tls: options.tls }),
    })
  }

  get now(): number {
    return Date.now() + this.#skew
  }

  /** An operation of a service that speaks JSON. */
  async json(operation: string, input: unknown, signal?: AbortSignal): Promise<Record<string, unknown>> {
    const { prefix = '', version = '1.0' } = this.#options.service.target ?? {}
    const headers = { 'content-type': `application/x-amz-json-${version}`, 'x-amz-target': `${prefix}.${operation}` }
    const reply = await this.rest({ operation, method: 'POST', path: '/', headers, body: Buffer.from(JSON.stringify(input)) }, signal)
    return reply.body.length === 0 ? {} : (JSON.parse(reply.body.toString()) as Record<string, unknown>)
  }

  /** An operation of a service that speaks forms and XML; the result's element. */
  async query(
    operation: string,
    parameters: readonly (readonly [string, string])[],
    signal?: AbortSignal,
  ): Promise<XmlElement | undefined> {
    const form = canonicalQuery([['Action', operation], ['Version', this.#options.service.version ?? ''], ...parameters])
    const headers = { 'content-type': 'application/x-www-form-urlencoded; charset=utf-8' }
    const reply = await this.rest({ operation, method: 'POST', path: '/', headers, body: Buffer.from(form) }, signal)
    return parseXml(reply.body.toString()).children.find(({ name }) => name === `${operation}Result`)
  }

  /** Any request; a reply outside 2xx rejects. */
  async rest(request: RestRequest, signal?: AbortSignal, limit = LIMIT): Promise<WholeReply> {
    const { service } = this.#options
    for (let attempt = 1; ; attempt++) {
      let reply: WholeReply
      try {
        reply = await this.#send(request, signal, limit)
      } catch (error) {
        if (signal?.aborted) throw error
        if (attempt < TRIES && isUnreachable(error)) {
          await this.#wait(attempt, signal)
          continue
        }
        const { host } = request.endpoint ?? this.endpoint
        const why = error instanceof Error ? error.message : String(error)
        throw new Error(`operation error ${service.name}: ${request.operation}, no answer of ${host}: ${why}`, { cause: error })
      }
      if (reply.status >= 200 && reply.status < 300) return reply
      const fault = faultOf(reply)
      const again = attempt < TRIES && (passes(fault) || (isSkewed(fault) && this.#corrected(reply)))
      if (!again) throw new AwsError(service.name, request.operation, fault)
      await this.#wait(attempt, signal)
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#http[Symbol.asyncDispose]()
  }

  async #send(request: RestRequest, signal: AbortSignal | undefined, limit: number): Promise<WholeReply> {
    const { service, region, key } = this.#options
    const { method, query = [], headers = {}, body } = request
    const endpoint = request.endpoint ?? this.endpoint
    const path = `${endpoint.pathname.replace(/\/+$/, '')}${request.path}`
    const signable = { method, host: endpoint.host, path, query, headers }
    const scope = { region, service: service.signing ?? service.host, now: this.now }
    const sent = key ? signedHeaders(signable, body ?? '', await key(signal), scope) : headers
    const search = canonicalQuery(query)
    return this.#http.request({
      method,
      url: endpoint,
      path: search === '' ? path : `${path}?${search}`,
      headers: sent,
      body,
      signal,
      limit,
      tooLarge: () => new Error(`${service.name} answered ${request.operation} with more than ${limit} bytes`),
    })
  }

  /** Takes the time of a reply that refused ours; whether that is news. */
  #corrected({ headers }: WholeReply): boolean {
    const theirs = Date.parse(String(headers.date ?? ''))
    if (Number.isNaN(theirs) || Math.abs(theirs - this.now) < 60_000) return false
    this.#skew = theirs - Date.now()
    return true
  }

  async #wait(attempt: number, signal: AbortSignal | undefined): Promise<void> {
    await pause(Math.min(LONGEST, PAUSE * 2 ** (attempt - 1)) * (0.5 + Math.random() / 2), undefined, { signal })
  }
}

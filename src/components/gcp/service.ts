import { setTimeout as pause } from 'node:timers/promises'
import { Code } from '../../errors.ts'
import { createGrpcClient, type GrpcClient, type GrpcClientStream, type GrpcListener } from '../../transport/grpc/client.ts'
import type { MessageType } from '../../transport/grpc/message.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
import { MetadataError } from '../metadata.ts'
import { GoogleCredentials } from './credentials.ts'
import type { Identity } from './settings.ts'

/** Milliseconds of a call when its signal says nothing shorter; further tries, the pause before the first, doubled after each. */
const TIMEOUT = 60_000
const RETRIES = 3
const PAUSE = 200
/** Google takes a ping now and then; a silent connection is noticed within a minute. */
const KEEPALIVE = { interval: 60_000, timeout: 20_000 }

export interface ServiceOptions {
  /** e.g. `google.pubsub.v1`. */
  package: string
  /** `host:port`, or a URL of one; http and nothing in front mean cleartext when `identity` is nobody's. */
  address: string
  secure: boolean
  identity: Identity
  /** Bytes of one message. */
  maxMessage: number
}

/** One of Google's APIs over gRPC, signed in, calls repeated that found nobody. Rejections are GrpcStatus, or say why there is no token. */
export class GoogleService implements AsyncDisposable {
  readonly #options: ServiceOptions
  readonly #client: GrpcClient
  readonly #credentials: GoogleCredentials

  constructor(options: ServiceOptions) {
    this.#options = options
    this.#credentials = new GoogleCredentials(options.identity)
    this.#client = createGrpcClient({
      maxMessageSize: options.maxMessage,
      keepalive: KEEPALIVE,
      ...(options.secure ? { tls: {} } : {}),
    })
  }

  /** Signs in. */
  async open(signal: AbortSignal): Promise<void> {
    await this.#credentials.token(signal)
  }

  /** `routed`: the resource that Google routes the call by, e.g. `topic=projects/p/topics/t`. */
  async call<I, O>(
    method: string,
    routed: string,
    request: MessageType<unknown, I>,
    reply: MessageType<O, never>,
    input: I,
    signal?: AbortSignal,
  ): Promise<O> {
    const bytes = request.encode(input)
    let renewed = false
    for (let attempt = 0; ; attempt++) {
      try {
        const headers = await this.#headers(routed, signal)
        const options = { headers, timeout: TIMEOUT, ...(signal && { signal }) }
        return reply.decode(await this.#client.unary(this.#options.address, this.#path(method), bytes, options))
      } catch (error) {
        if (!(error instanceof GrpcStatus) || signal?.aborted) throw error
        if (error.code === Code.Unauthenticated && !renewed) {
          renewed = true
          this.#credentials.drop()
        } else if (error.code !== Code.Unavailable || attempt >= RETRIES) throw error
        await pause(PAUSE * 2 ** attempt * (0.5 + Math.random() / 2), undefined, { signal })
      }
    }
  }

  async stream(method: string, routed: string, listener: GrpcListener, signal: AbortSignal): Promise<GrpcClientStream> {
    const headers = await this.#headers(routed, signal)
    return this.#client.stream(this.#options.address, this.#path(method), { headers, signal }, listener)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#client[Symbol.asyncDispose](), this.#credentials[Symbol.asyncDispose]()])
  }

  #path(method: string): string {
    return `/${this.#options.package}.${method}`
  }

  async #headers(routed: string, signal?: AbortSignal): Promise<Record<string, string>> {
    const token = await this.#credentials.token(signal)
    const at = routed.indexOf('=')
    const route = `${routed.slice(0, at)}=${encodeURIComponent(routed.slice(at + 1))}`
    return { 'x-goog-request-params': route, ...(token !== undefined && { authorization: `Bearer ${token}` }) }
  }
}

/** `host:port` of what an emulator's setting or a field says: `localhost:8085`, `http://localhost:8085`. Throws MetadataError. */
export function addressOf(field: string, text: string): string {
  const url = text.includes('://') ? text : `http://${text}`
  if (!URL.canParse(url) || new URL(url).host === '') throw new MetadataError(`metadata field ${field}: "${text}" is not host:port`)
  const { hostname, port, protocol } = new URL(url)
  return `${hostname}:${port || (protocol === 'https:' ? '443' : '80')}`
}

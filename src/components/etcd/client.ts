import { randomInt } from 'node:crypto'
import type { ConnectionOptions } from 'node:tls'
import { Code } from '../../errors.ts'
import { createGrpcClient, type GrpcClient } from '../../transport/grpc/client.ts'
import type { InputOf, MessageOf, MessageType } from '../../transport/grpc/message.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
import { NoRoomError } from '../no-room.ts'
import { tlsAdvice } from '../tls-advice.ts'
import {
  LeaseGrantRequest,
  LeaseGrantResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  TxnRequest,
  TxnResponse,
} from './messages.ts'

export interface EtcdClientOptions {
  /** `host:port`; tried in turn. */
  endpoints: readonly string[]
  tls?: ConnectionOptions | undefined
  /** Who asks, for messages: `state store orders`. */
  owner: string
}

/** Milliseconds for one request, and for a connection to come up: what Dapr allows. */
const TIMEOUT = 5000
/** A silent connection is asked for a sign of life; etcd takes more than one ping in 5 s for an attack. */
const KEEPALIVE = { interval: 10_000, timeout: 5000 }
const TLS_FIELDS = { address: 'endpoints', on: 'set tlsEnable to false', authority: 'ca', client: 'cert and key' }
const MAX_MESSAGE = 64 * 1024 * 1024
/** etcd's own ids go beyond what a number holds exactly; we choose ours. */
const LARGEST_LEASE = 2 ** 48 - 1

/** etcd's gRPC API. Each request ends within {@link TIMEOUT} an endpoint; rejections name the owner and the endpoints. */
export class EtcdClient implements AsyncDisposable {
  readonly #options: EtcdClientOptions
  readonly #client: GrpcClient
  #current = 0

  constructor(options: EtcdClientOptions) {
    this.#options = options
    this.#client = createGrpcClient({
      maxMessageSize: MAX_MESSAGE,
      connectTimeout: TIMEOUT,
      keepalive: KEEPALIVE,
      ...(options.tls ? { tls: options.tls } : {}),
    })
  }

  range(request: InputOf<typeof RangeRequest>, signal?: AbortSignal): Promise<MessageOf<typeof RangeResponse>> {
    return this.#call('KV/Range', RangeRequest, RangeResponse, request, true, signal)
  }

  put(request: InputOf<typeof PutRequest>, signal?: AbortSignal): Promise<MessageOf<typeof PutResponse>> {
    return this.#call('KV/Put', PutRequest, PutResponse, request, true, signal)
  }

  /** Runs again at another endpoint only when it has no conditions: who lost an answer cannot tell whether its own write made them false. */
  txn(request: InputOf<typeof TxnRequest>, signal?: AbortSignal): Promise<MessageOf<typeof TxnResponse>> {
    return this.#call('KV/Txn', TxnRequest, TxnResponse, request, !request.compare?.length, signal)
  }

  /** A lease that ends after so many seconds, and with it the keys it is given to; its id. */
  async grant(seconds: number, signal?: AbortSignal): Promise<number> {
    const id = randomInt(1, LARGEST_LEASE)
    await this.#call('Lease/LeaseGrant', LeaseGrantRequest, LeaseGrantResponse, { ttl: seconds, id }, false, signal)
    return id
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client[Symbol.asyncDispose]()
  }

  async #call<I, T, RI>(
    method: string,
    request: MessageType<unknown, I>,
    response: MessageType<T, RI>,
    value: I,
    again: boolean,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    const { endpoints } = this.#options
    const message = request.encode(value)
    let failure: GrpcStatus | undefined
    // One endpoint gets a second chance too: a connection may have died unnoticed since its last use.
    for (let attempt = 0; attempt < Math.max(2, endpoints.length); attempt++) {
      const address = endpoints[this.#current % endpoints.length] as string
      try {
        const options = { timeout: TIMEOUT, ...(signal ? { signal } : {}) }
        return response.decode(await this.#client.unary(address, `/etcdserverpb.${method}`, message, options))
      } catch (error) {
        failure = GrpcStatus.from(error)
        if (failure.code !== Code.Unavailable && failure.code !== Code.DeadlineExceeded) break
        // What waits behind a connection that gives no answer would wait too: the next call opens another.
        if (failure.code === Code.DeadlineExceeded) this.#client.forget(address)
        this.#current++
        if ((failure.sent && !again) || signal?.aborted || (failure.code === Code.DeadlineExceeded && endpoints.length === 1)) break
      }
    }
    throw this.#explain(failure as GrpcStatus)
  }

  #explain(status: GrpcStatus): Error {
    const { owner, endpoints } = this.#options
    const away = status.code === Code.Unavailable || status.code === Code.DeadlineExceeded
    if (/database space exceeded/.test(status.message))
      return new NoRoomError(
        `${owner}: etcd at ${endpoints.join(', ')} has no room: ${status.message} (raise --quota-backend-bytes, or compact and defragment it, then etcdctl alarm disarm; it is used again at once)`,
        { cause: status },
      )
    if (!away) return new Error(`${owner}: ${status.message}`, { cause: status })
    const tls = tlsAdvice(status, TLS_FIELDS)
    const reason = status.code === Code.DeadlineExceeded ? `no answer within ${TIMEOUT} ms` : (tls?.reason ?? status.message)
    return new Error(
      `${owner}: cannot reach etcd at ${endpoints.join(', ')}: ${reason} (${tls?.next ?? 'start the server or correct endpoints'}; the next operation connects again)`,
      { cause: status },
    )
  }
}

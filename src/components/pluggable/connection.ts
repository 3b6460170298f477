import { createGrpcClient, type GrpcClient, type GrpcClientStream, type GrpcListener } from '../../transport/grpc/client.ts'
import { frame } from '../../transport/grpc/frames.ts'
import type { MessageType } from '../../transport/grpc/message.ts'
import { describeStatus, GrpcStatus } from '../../transport/grpc/status.ts'
import { FeaturesResponse, InitRequest, Nothing } from './common-messages.ts'

const PACKAGE = '/dapr.proto.components.v1.'
/** How long a component that came back may take to initialise, milliseconds. */
const INIT_TIMEOUT = 30_000
/** Bytes of one message from a component; a list of many values is one. */
const MAX_MESSAGE = 64 * 1024 * 1024

/** A component's answer other than OK, in the words that clients of Dapr know; `cause` is the GrpcStatus. */
export class ComponentCallError extends Error {
  override readonly name = 'ComponentCallError'
  readonly status: GrpcStatus
  constructor(status: GrpcStatus) {
    super(describeStatus(status), { cause: status })
    this.status = status
  }
}

export interface ConnectionOptions {
  socket: string
  /** metadata.name of the Component resource: one server may serve several. */
  instance: string
  /** Initialises the component; runs on each new connection, before anything else uses it. */
  start: (connection: Connection, signal: AbortSignal) => Promise<void>
}

/**
 * One Component resource's connection to its server: `closed → starting → up → closed …`. A lost connection is dialled
 * again by the next call, and since the server may be a new process, the component is initialised again first.
 */
export class Connection implements AsyncDisposable {
  readonly #options: ConnectionOptions
  readonly #address: string
  readonly #client: GrpcClient
  #starting: Promise<void> | undefined

  constructor(options: ConnectionOptions) {
    this.#options = options
    this.#address = `unix:${options.socket}`
    this.#client = createGrpcClient({
      idleTimeout: 0,
      maxMessageSize: MAX_MESSAGE,
      onGone: () => {
        this.#starting = undefined
      },
    })
  }

  /** Resolves when the component is initialised on a connection that stands, as far as is known. */
  ready(signal: AbortSignal = AbortSignal.timeout(INIT_TIMEOUT)): Promise<void> {
    if (this.#starting) return this.#starting
    const starting = this.#options.start(this, signal)
    this.#starting = starting
    starting.catch(() => {
      if (this.#starting === starting) this.#starting = undefined
    })
    return starting
  }

  /** Calls e.g. `StateStore/Get` of an initialised component. Rejects with ComponentCallError. */
  async call<I, T, RI>(
    method: string,
    request: MessageType<unknown, I>,
    response: MessageType<T, RI>,
    value: I,
    signal?: AbortSignal,
  ): Promise<T> {
    await this.ready()
    return this.#send(method, request, response, value, signal)
  }

  /** The service's Init, then its Features where it has them; for `start` only. */
  async init(service: string, properties: Readonly<Record<string, string>>, signal: AbortSignal): Promise<void> {
    await this.#send(`${service}/Init`, InitRequest, Nothing, { metadata: { properties } }, signal)
  }

  async features(service: string, signal: AbortSignal): Promise<string[]> {
    return (await this.#send(`${service}/Features`, Nothing, FeaturesResponse, {}, signal)).features
  }

  /** A call for `start`: it does not wait for the start to be over. */
  direct<I, T, RI>(
    method: string,
    request: MessageType<unknown, I>,
    response: MessageType<T, RI>,
    value: I,
    signal: AbortSignal,
  ): Promise<T> {
    return this.#send(method, request, response, value, signal)
  }

  async ping(service: string, signal: AbortSignal): Promise<void> {
    await this.call(`${service}/Ping`, Nothing, Nothing, {}, signal)
  }

  /** Opens a stream of an initialised component, with a first message if given. Rejects when it cannot be reached. */
  async open(method: string, first: Buffer | undefined, listener: Pick<GrpcListener, 'onMessage' | 'onClose'>): Promise<GrpcClientStream> {
    await this.ready()
    return new Promise((resolve, reject) => {
      let opened = false
      const stream = this.#client.stream(
        this.#address,
        PACKAGE + method,
        { headers: this.#headers() },
        {
          onMessage: (message) => listener.onMessage(message),
          onReady() {
            opened = true
            resolve(stream)
          },
          onClose(status, trailers) {
            if (opened) listener.onClose(status, trailers)
            else reject(status ? new ComponentCallError(status) : new Error(`${method} ended before it began`))
          },
        },
      )
      if (first) stream.write(frame(first))
    })
  }

  async #send<I, T, RI>(
    method: string,
    request: MessageType<unknown, I>,
    response: MessageType<T, RI>,
    value: I,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    try {
      const options = { headers: this.#headers(), ...(signal ? { signal } : {}) }
      return response.decode(await this.#client.unary(this.#address, PACKAGE + method, request.encode(value), options))
    } catch (error) {
      throw new ComponentCallError(GrpcStatus.from(error))
    }
  }

  #headers(): Record<string, string> {
    // A name that is no header text would end the connection.
    return { 'x-component-instance': this.#options.instance.replace(/[^\x20-\x7e]/g, '?') }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client[Symbol.asyncDispose]()
  }
}

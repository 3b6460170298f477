import { setTimeout as delay } from 'node:timers/promises'
import type { ConnectionOptions } from 'node:tls'
import { Code, messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import { createGrpcClient, type GrpcClient } from '../../transport/grpc/client.ts'
import { frame } from '../../transport/grpc/frames.ts'
import { describeStatus, GrpcStatus } from '../../transport/grpc/status.ts'
import { EventType, type FollowedName, followedKind, GET_CONFIGURATION, OWN_GROUP } from './messages.ts'

export interface OperatorClientOptions {
  /** host:port. */
  address: string
  namespace: string
  /** For each connection: who we are, and that the other is the operator. */
  tls: () => ConnectionOptions
  log: Logger
}

export interface OperatorWatcher {
  /** The stream stands, the first time or again: what happened before it is not told. */
  onOpen(): void
  /** `resource` is parsed JSON. */
  onEvent(type: 'put' | 'delete', resource: unknown): void
}

const FIRST_WAIT = 100
const LONGEST_WAIT = 5000
const CALL_TIMEOUT = 10_000
/** Lists of large clusters are larger than a message usually may be. */
const MAX_MESSAGE = 64 << 20

/** The operator's API, for one sidecar. */
export class OperatorClient implements AsyncDisposable {
  readonly #options: OperatorClientOptions
  readonly #client: GrpcClient
  readonly #address: string
  readonly #stop = new AbortController()
  /** Why it was last said to be away; undefined: it answered since. */
  #away: string | undefined

  constructor(options: OperatorClientOptions) {
    this.#options = options
    this.#address = options.address.replace(/^(dns:\/\/\/|https?:\/\/)/, '')
    this.#client = createGrpcClient({
      tls: options.tls,
      maxMessageSize: MAX_MESSAGE,
      idleTimeout: 0,
      keepalive: { interval: 10_000, timeout: 5000 },
    })
  }

  /**
   * Resources of one kind as parsed JSON; none of a kind that the operator does not know. Waits while the operator cannot be
   * reached, for it may start after us; rejects with what it answers otherwise.
   */
  async list(name: FollowedName, signal: AbortSignal): Promise<unknown[]> {
    const { list } = followedKind(name)
    if (!list) return []
    const reply = await this.#call(list.path, list.request.encode({ namespace: this.#options.namespace }), `list ${name} resources`, signal)
    return reply === undefined ? [] : list.reply.decode(reply).items.map(parse)
  }

  /** The Configuration of this name; undefined: there is none. */
  async configuration(name: string, signal: AbortSignal): Promise<unknown> {
    const { namespace } = this.#options
    const { path, request, reply } = GET_CONFIGURATION
    const answer = await this.#call(path, request.encode({ name, namespace }), `read Configuration ${name}`, signal)
    const text = answer && reply.decode(answer).configuration
    return text && text.length > 0 ? parse(text) : undefined
  }

  /** Follows the changes of one kind, over connections as they come and go, until disposed. */
  watch(name: FollowedName, watcher: OperatorWatcher): Disposable {
    const ended = new AbortController()
    const signal = AbortSignal.any([ended.signal, this.#stop.signal])
    void this.#follow(name, watcher, signal)
    return { [Symbol.dispose]: () => ended.abort() }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#client[Symbol.asyncDispose]()
  }

  async #call(path: string, message: Buffer, what: string, signal: AbortSignal): Promise<Buffer | undefined> {
    const { log } = this.#options
    for (let tries = 1; ; tries++) {
      try {
        const reply = await this.#client.unary(this.#address, path, message, { timeout: CALL_TIMEOUT, signal })
        if (this.#away) log.info(`the operator at ${this.#address} answers`)
        this.#away = undefined
        return reply
      } catch (error) {
        signal.throwIfAborted()
        const code = error instanceof GrpcStatus ? error.code : undefined
        if (code === Code.Unimplemented || code === Code.NotFound) return undefined
        const reason = error instanceof GrpcStatus ? describeStatus(error) : messageOf(error)
        if (code !== Code.Unavailable && code !== Code.DeadlineExceeded)
          throw new Error(
            `cannot ${what} from the operator at ${this.#address}: ${reason}; check --control-plane-address, and that this pod may see namespace ${this.#options.namespace}`,
            { cause: error },
          )
        // All kinds are asked for at once; one line says what holds for each.
        if (this.#away !== reason) log.warn(`the operator at ${this.#address} is away, waiting for it: ${reason}`)
        this.#away = reason
        await delay(Math.min(FIRST_WAIT * 2 ** tries, LONGEST_WAIT), undefined, { signal }).catch(() => {})
        signal.throwIfAborted()
      }
    }
  }

  async #follow(name: FollowedName, watcher: OperatorWatcher, signal: AbortSignal): Promise<void> {
    const { log } = this.#options
    let wait = FIRST_WAIT
    while (!signal.aborted) {
      const began = performance.now()
      const status = await this.#stream(name, watcher, signal)
      if (signal.aborted) return
      if (status?.code === Code.Unimplemented)
        return log.debug(
          name === OWN_GROUP
            ? "this operator is Dapr's: it has no resources of outrider.dev (TrafficPolicy and others), so there are none"
            : `the operator does not tell of changes of ${name} resources`,
        )
      // A stream that stood for a while has earned a quick return.
      wait = performance.now() - began > LONGEST_WAIT ? FIRST_WAIT : Math.min(wait * 2, LONGEST_WAIT)
      log.debug(
        `the operator's stream of ${name} changes ended (${status ? describeStatus(status) : 'without an error'}); opening it again`,
      )
      await delay(wait, undefined, { signal }).catch(() => {})
    }
  }

  /** One stream, from its beginning to its end; gives what ended it. */
  #stream(name: FollowedName, watcher: OperatorWatcher, signal: AbortSignal): Promise<GrpcStatus | undefined> {
    const { updates } = followedKind(name)
    return new Promise((resolve) => {
      const stream = this.#client.stream(
        this.#address,
        updates.path,
        { signal },
        {
          onReady: () => watcher.onOpen(),
          onMessage: (received) => {
            const event = attempt(() => updates.event.decode(received))
            const resource = event && attempt(() => parse(event.resource))
            // The list of the stream's next beginning tells what this one would have.
            if (resource === undefined)
              return this.#options.log.warn(`a change of a ${name} resource from the operator is unreadable: left out`)
            watcher.onEvent(event?.type === EventType.DELETED ? 'delete' : 'put', resource)
          },
          onClose: (status) => resolve(status),
        },
      )
      stream.end(frame(updates.request.encode({ namespace: this.#options.namespace })))
    })
  }
}

function parse(text: Buffer): unknown {
  return JSON.parse(text.toString())
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}

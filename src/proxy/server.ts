import type { ConnectionOptions } from 'node:tls'
import { messageOf } from '../errors.ts'
import type { Logger } from '../telemetry/log.ts'
import type { ServerExchange } from '../transport/http1/server-exchange.ts'
import type { OriginalDestination } from '../transport/original-destination.ts'
import { ClusterRuntime } from './cluster/cluster.ts'
import { type DiscoveryContext, discover } from './cluster/discovery.ts'
import { Followed } from './followed.ts'
import { LogFiles } from './http/access-log.ts'
import type { Cluster } from './model/cluster.ts'
import type { ProxyModel } from './model/model.ts'
import { ProxyListener } from './net/listener.ts'
import { type Figures, httpFigures } from './stats.ts'
import { clientOptions, filesOf, KEPT } from './tls.ts'

export interface ProxyOptions extends Pick<DiscoveryContext, 'readFile'> {
  log: Logger
  /** Where connections wanted to go that iptables has sent here; `guess`: by Host and server name. */
  original: OriginalDestination | 'guess' | undefined
  /** Milliseconds that listeners wait for the first look at endpoints. */
  warmup?: number
  /** By the name of a listener: who sees its requests first. */
  intercept?: Readonly<Record<string, (proxy: ProxyServer) => (exchange: ServerExchange) => boolean>>
}

const WARMUP = 5000

/** What a model describes, running: opening → open → draining → closed. */
export class ProxyServer implements AsyncDisposable {
  readonly model: ProxyModel
  readonly clusters = new Map<string, ClusterRuntime>()
  readonly listeners: ProxyListener[] = []
  /** Of HTTP and TCP by their prefix. */
  readonly figures = new Map<string, Figures>()
  readonly started: number = Date.now()
  readonly log: Logger
  readonly #files = new LogFiles()
  readonly #followed: Disposable[] = []
  #state: 'opening' | 'open' | 'draining' | 'closed' = 'opening'

  /** Throws for what cannot be used; nothing is left open then. */
  constructor(model: ProxyModel, options: ProxyOptions) {
    this.model = model
    this.log = options.log
    const { log } = options
    refuse(model, options)
    const context: DiscoveryContext = { log, readFile: options.readFile }
    try {
      for (const cluster of model.clusters) {
        const tls = this.#followTls(cluster)
        this.clusters.set(
          cluster.name,
          new ClusterRuntime(cluster, {
            log,
            tls: tls && (() => tls.current),
            guesses: options.original === 'guess',
            discover: async (...given) => discover(...given, context),
          }),
        )
      }
      for (const listener of model.listeners)
        this.listeners.push(
          named(
            `listener ${listener.name}`,
            () =>
              new ProxyListener(listener, {
                clusters: this.clusters,
                files: this.#files,
                log,
                original: options.original,
                intercept: options.intercept?.[listener.name]?.(this),
                figuresOf: (stat) => this.#figuresOf(stat),
              }),
          ),
        )
    } catch (error) {
      void this[Symbol.asyncDispose]()
      throw error
    }
    this.#warmup = options.warmup ?? WARMUP
  }

  readonly #warmup: number = WARMUP

  get state(): string {
    return this.#state
  }

  /** TLS towards a cluster, read again when its files change. */
  #followTls({ name, tls }: Cluster): Followed<ConnectionOptions> | undefined {
    if (!tls) return undefined
    const certificates = tls.certificate ? [tls.certificate] : []
    const followed = named(
      `service ${name}`,
      () =>
        new Followed(filesOf({ certificates, validation: tls.validation }), {
          make: () => clientOptions(tls),
          changed: () => this.log.info(`service ${name}: its certificates have been read again`),
          refused: (why) => this.log.warn(`service ${name}: its certificates cannot be used: ${why}; ${KEPT}`),
        }),
    )
    this.#followed.push(followed)
    return followed
  }

  #figuresOf(stat: string): Figures {
    const known = this.figures.get(stat) ?? httpFigures()
    this.figures.set(stat, known)
    return known
  }

  /** Waits for endpoints, though not for ever, and listens. Rejects when a port cannot be had; nothing is left open then. */
  async open(): Promise<void> {
    const late = Promise.withResolvers<void>()
    const timer = setTimeout(late.resolve, this.#warmup)
    await Promise.race([Promise.all([...this.clusters.values()].map((cluster) => cluster.ready().catch(() => {}))), late.promise])
    clearTimeout(timer)
    try {
      for (const listener of this.listeners) await listener.open()
    } catch (error) {
      await this[Symbol.asyncDispose]()
      throw error
    }
    this.#state = 'open'
  }

  /** Takes no more connections. */
  async drain(): Promise<void> {
    if (this.#state === 'open') this.#state = 'draining'
    await Promise.all(this.listeners.map((listener) => listener.drain()))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    for (const one of this.#followed) one[Symbol.dispose]()
    await Promise.all(this.listeners.map((listener) => listener[Symbol.asyncDispose]()))
    await Promise.all([...this.clusters.values()].map((cluster) => cluster[Symbol.asyncDispose]()))
    await this.#files[Symbol.asyncDispose]()
  }
}

/** Throws for what the model asks for and this process does not have. */
function refuse({ clusters, listeners }: ProxyModel, { original }: ProxyOptions): void {
  const direct =
    listeners.find(({ originalDestination }) => originalDestination)?.name ??
    clusters.find(({ discovery }) => discovery === 'original-destination')?.name
  if (direct !== undefined && !original)
    throw new Error(
      `${direct} asks for the original destination of connections, which cannot be told here: that needs Linux, and the Node that npm ci installs`,
    )
}

/** An error of this part with its name in front. */
function named<T>(what: string, make: () => T): T {
  try {
    return make()
  } catch (error) {
    throw new Error(`${what}: ${messageOf(error)}`, { cause: error })
  }
}

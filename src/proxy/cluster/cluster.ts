import type { ConnectionOptions } from 'node:tls'
import type { Logger } from '../../telemetry/log.ts'
import type { Cluster, Endpoint } from '../model/cluster.ts'
import { clusterFigures, countStatus, type Figures, Histogram } from '../stats.ts'
import type { Failure } from './attempt.ts'
import { type Balancer, balancerOf } from './balancers.ts'
import type { Discovered } from './discovery.ts'
import { startHealthChecks } from './health-check.ts'
import { addressOf, Host } from './host.ts'
import { Outliers } from './outliers.ts'

/** Endpoints of one priority. */
interface Level {
  hosts: Host[]
  well: number
  /** Over those that are well, and over all. */
  healthy: Balancer
  all: Balancer
}

export interface ClusterOptions {
  log: Logger
  /** TLS towards its endpoints, asked anew for each connection; undefined: in clear. */
  tls: (() => ConnectionOptions) | undefined
  /** Where a connection wants to go is taken from what it says, for nobody can ask the socket. */
  guesses?: boolean
  /** Follows where the endpoints come from. */
  discover(cluster: Cluster, found: (endpoints: readonly Endpoint[]) => void, figures: Figures): Promise<Discovered>
}

/** How many more there may be of what was there to be well: 1.4 times, as Envoy counts. */
const OVERPROVISIONING = 1.4

/** One upstream service: its endpoints, who of them is asked, and how much at once. */
export class ClusterRuntime implements AsyncDisposable {
  readonly model: Cluster
  readonly figures: Figures = clusterFigures()
  readonly requestTime = new Histogram()
  /** Requests and retries under way. */
  active = 0
  retries = 0
  hosts: Host[] = []
  readonly log: Logger
  readonly #tls: ClusterOptions['tls']
  readonly guesses: boolean
  readonly #outliers: Outliers | undefined
  readonly #discovery: Promise<Discovered>
  #levels: Level[] = []
  #checks: Disposable | undefined
  /** Hosts that are gone from the list and have requests under way. */
  readonly #leaving = new Set<Promise<void>>()

  constructor(model: Cluster, options: ClusterOptions) {
    this.model = model
    this.log = options.log
    this.#tls = options.tls
    this.guesses = options.guesses ?? false
    this.#outliers = model.outliers && new Outliers(this, model.outliers)
    this.#set(model.discovery === 'static' || model.discovery === 'logical-dns' ? model.endpoints : [])
    this.#discovery = options.discover(model, (endpoints) => this.#set(endpoints), this.figures)
    this.#discovery.catch(() => {})
    if (model.health) this.#checks = startHealthChecks(this, model.health)
  }

  /** For a connection that is opened now. */
  get tls(): ConnectionOptions | undefined {
    return this.#tls?.()
  }

  /** Resolves when the first look for endpoints is over, whatever it found. */
  async ready(): Promise<void> {
    await (await this.#discovery).first
  }

  /** A request comes, if there may be one more; else that is counted. */
  enter(): boolean {
    const { figures } = this
    if (this.active >= this.model.limits.requests) {
      ;(figures.upstream_rq_pending_overflow as number)++
      return false
    }
    this.active++
    ;(figures.upstream_rq_active as number)++
    return true
  }

  leave(): void {
    this.active--
    ;(this.figures.upstream_rq_active as number)--
  }

  /** A request goes on to be made again, if there may be one more of these at once; else that is counted. */
  enterRetry(): boolean {
    if (this.retries >= this.model.limits.retries) {
      ;(this.figures.upstream_rq_retry_overflow as number)++
      return false
    }
    this.retries++
    return true
  }

  /** Chooses an endpoint, if it can be one that was not `tried`; undefined: there is none. */
  pick(hash: number | undefined, tried?: readonly Host[]): Host | undefined {
    const level = this.#level()
    if (!level) return undefined
    const balancer = this.#panics(level) ? level.all : level.healthy
    let host = balancer.pick(hash)
    if (!tried || tried.length === 0) return host
    for (let again = 0; again < 8 && host && tried.includes(host); again++) host = balancer.pick(undefined)
    if (host && tried.includes(host)) host = level.hosts.find((one) => one.healthy && !tried.includes(one)) ?? host
    return host
  }

  /** The endpoint of this address, made when it is not known: for connections that say themselves where they go. */
  direct(host: string, port: number): Host {
    const address = addressOf({ host, port })
    const known = this.hosts.find((one) => one.address === address)
    if (known) return known
    if (this.hosts.length >= MAX_DIRECT) void this.hosts.shift()?.retire()
    const made = new Host(this.model, { host, port, weight: 1, priority: 0 }, this.#tls)
    this.hosts.push(made)
    return made
  }

  /** Whether health is looked at no more, because too few are well. */
  #panics({ well, hosts }: Level): boolean {
    if (well === hosts.length || (well * 100) / hosts.length >= this.model.panicPercent) return false
    this.figures.lb_healthy_panic = (this.figures.lb_healthy_panic ?? 0) + 1
    return true
  }

  #level(): Level | undefined {
    const levels = this.#levels
    if (levels.length <= 1) return levels[0]
    let left = 1
    const shares = levels.map(({ hosts, well }) => {
      const share = Math.min(left, Math.min(1, (well / hosts.length) * OVERPROVISIONING))
      left -= share
      return share
    })
    let at = Math.random() * (1 - left)
    for (let i = 0; i < levels.length; i++) {
      at -= shares[i] as number
      if (at < 0) return levels[i]
    }
    return levels[0]
  }

  #set(endpoints: readonly Endpoint[]): void {
    const before = new Map(this.hosts.map((host) => [host.address, host]))
    const hosts: Host[] = []
    for (const endpoint of endpoints) {
      const known = before.get(addressOf(endpoint))
      const same = known && known.endpoint.weight === endpoint.weight && known.endpoint.priority === endpoint.priority
      if (known && same) {
        known.health.declared = endpoint.health
        before.delete(known.address)
        hosts.push(known)
      } else {
        const made = new Host(this.model, endpoint, this.#tls)
        // Nobody has asked it yet: with active checks it must pass one first, unless it is all there is.
        if (this.model.health && this.hosts.length > 0) made.health.failedCheck = true
        hosts.push(made)
      }
    }
    for (const gone of before.values()) {
      const leaving = gone.retire().finally(() => this.#leaving.delete(leaving))
      this.#leaving.add(leaving)
    }
    this.hosts = hosts
    this.figures.membership_change = (this.figures.membership_change ?? 0) + 1
    this.healthChanged()
  }

  /** Somebody's health has changed. */
  healthChanged(): void {
    const { balance, choices, ring } = this.model
    const byPriority = Map.groupBy(this.hosts, ({ endpoint }) => endpoint.priority)
    const levels = [...byPriority].sort(([a], [b]) => a - b)
    this.#levels = levels.map(([, hosts], index) => {
      const well = hosts.filter((host) => host.healthy)
      const kept = this.#levels[index]
      const level = {
        hosts,
        well: well.length,
        healthy: kept?.healthy ?? balancerOf(balance, choices, ring),
        all: kept?.all ?? balancerOf(balance, choices, ring),
      }
      level.healthy.set(well)
      level.all.set(hosts)
      return level
    })
    this.figures.membership_total = this.hosts.length
    this.figures.membership_healthy = this.hosts.filter((host) => host.healthy).length
  }

  /** An endpoint answered. */
  answered(host: Host, status: number, ms: number): void {
    const { figures } = this
    ;(figures.upstream_rq_completed as number)++
    countStatus(figures, 'upstream_rq', status)
    this.requestTime.record(ms)
    if (status >= 500) host.errors++
    else host.successes++
    this.#outliers?.answered(host, status)
  }

  /** An endpoint did not answer. */
  failed(host: Host, failure: Failure | 'timeout'): void {
    if (failure === 'invalid') return
    const { figures } = this
    host.errors++
    if (failure === 'connect') {
      host.connectFailures++
      ;(figures.upstream_cx_connect_fail as number)++
    } else if (failure === 'overflow') (figures.upstream_rq_pending_overflow as number)++
    else if (failure === 'timeout') host.timeouts++
    else (figures.upstream_rq_rx_reset as number)++
    if (failure !== 'overflow') this.#outliers?.failed(host)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#checks?.[Symbol.dispose]()
    this.#outliers?.[Symbol.dispose]()
    const discovery = await this.#discovery.catch(() => undefined)
    discovery?.[Symbol.dispose]()
    await Promise.all(this.hosts.map((host) => host[Symbol.asyncDispose]()))
  }
}

/** Endpoints that connections themselves have named; the one known longest goes. */
const MAX_DIRECT = 10_000

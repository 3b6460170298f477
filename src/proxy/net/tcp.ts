import type { Socket } from 'node:net'
import type { Logger } from '../../telemetry/log.ts'
import type { ClusterRuntime } from '../cluster/cluster.ts'
import type { Host } from '../cluster/host.ts'
import { accessLog, type LogFiles, type LogWriter } from '../http/access-log.ts'
import type { ConnectionInfo } from '../http/downstream.ts'
import type { Told } from '../http/format.ts'
import type { TcpHandling } from '../model/listener.ts'
import type { Figures } from '../stats.ts'
import type { Served } from './chain.ts'
import { join } from './join.ts'
import { openSocket } from './open-socket.ts'

export interface TcpHandlerOptions {
  settings: TcpHandling
  clusters: ReadonlyMap<string, ClusterRuntime>
  figures: Figures
  files: LogFiles
  log: Logger
}

/** Passes the bytes of connections on to endpoints of a service. */
export class TcpHandler implements Disposable {
  readonly settings: TcpHandling
  readonly figures: Figures
  readonly #clusters: ReadonlyMap<string, ClusterRuntime>
  readonly #logs: readonly LogWriter[]

  constructor({ settings, clusters, figures, files }: TcpHandlerOptions) {
    this.settings = settings
    this.figures = figures
    this.#clusters = clusters
    this.#logs = settings.accessLogs.map((one) => accessLog(one, files))
  }

  take(client: Socket, info: ConnectionInfo, first: Buffer | undefined): Served {
    if (first && first.length > 0) client.unshift(first)
    const passage = new Passage(this, client, info, this.#clusters)
    return { sweep: (now) => passage.sweep(now), drain() {} }
  }

  ended(told: Told): void {
    for (const log of this.#logs) log(told, false)
  }

  [Symbol.dispose](): void {}
}

/** One connection and where it goes: connecting (to one endpoint after another) → joined → over. */
class Passage implements Told {
  readonly method = ''
  readonly path = ''
  readonly originalPath = ''
  readonly authority = ''
  readonly protocol = ''
  readonly scheme = ''
  readonly requestFields: readonly string[] = []
  readonly replyFields: readonly string[] = []
  readonly status = 0
  readonly routeName = ''
  readonly requestDuration: undefined
  readonly responseDuration: undefined
  readonly startTime: number = Date.now()
  details = ''
  flags = ''
  received = 0
  sent = 0
  attempts = 0
  upstreamHost: string | undefined
  upstreamCluster: string | undefined
  upstreamFailure: string | undefined
  readonly connection: ConnectionInfo
  readonly #handler: TcpHandler
  readonly #client: Socket
  readonly #cluster: ClusterRuntime | undefined
  readonly #began = performance.now()
  readonly #tried: Host[] = []
  #host: Host | undefined
  #upstream: Socket | undefined
  #touched = performance.now()
  #over = false
  #counted = false

  constructor(handler: TcpHandler, client: Socket, info: ConnectionInfo, clusters: ReadonlyMap<string, ClusterRuntime>) {
    this.#handler = handler
    this.#client = client
    this.connection = info
    const { to } = handler.settings
    let at = Math.random() * to.reduce((sum, { weight }) => sum + weight, 0)
    const chosen = to.find(({ weight }) => {
      at -= weight
      return at < 0
    })
    this.upstreamCluster = (chosen ?? to[0])?.service
    this.#cluster = clusters.get(this.upstreamCluster ?? '')
    client.on('error', () => this.#end(''))
    client.on('close', () => this.#end('DC'))
    this.#connect()
  }

  get duration(): number {
    return performance.now() - this.#began
  }

  #connect(): void {
    const cluster = this.#cluster
    if (!cluster) return this.#end('NC')
    const { original } = this.connection
    const host =
      cluster.model.discovery === 'original-destination'
        ? original && cluster.direct(original.host, original.port)
        : cluster.pick(undefined, this.#tried)
    if (!host) return this.#end('UH')
    if (!this.#counted && cluster.active >= cluster.model.limits.connections) {
      ;(cluster.figures.upstream_cx_overflow as number)++
      return this.#end('UO')
    }
    if (!this.#counted) cluster.active++
    this.#counted = true
    this.attempts++
    this.#tried.push(host)
    this.upstreamHost = host.address
    host.total++
    ;(cluster.figures.upstream_cx_total as number)++
    this.#upstream = openSocket(cluster, host, [], (error) => {
      if (this.#over) return
      if (error) {
        this.upstreamFailure = error.message
        cluster.failed(host, 'connect')
        if (this.attempts < this.#handler.settings.maxConnectAttempts) return this.#connect()
        return this.#end('UF,URX')
      }
      host.active++
      this.#host = host
      ;(cluster.figures.upstream_cx_active as number)++
      join(this.#client, this.#upstream as Socket, {
        onBytes: (received, sent) => {
          this.#touched = performance.now()
          this.received += received
          this.sent += sent
        },
        onEnd: () => this.#end(''),
      })
    })
  }

  sweep(now: number): void {
    const { idleTimeout } = this.#handler.settings
    if (idleTimeout > 0 && now - this.#touched > idleTimeout) this.#end('SI')
  }

  #end(flags: string): void {
    if (this.#over) return
    this.#over = true
    this.flags = this.#host && flags === 'DC' ? '' : flags
    const cluster = this.#cluster
    if (this.#host && cluster) {
      this.#host.active--
      ;(cluster.figures.upstream_cx_active as number)--
    }
    if (this.#counted && cluster) cluster.active--
    this.#client.destroy()
    this.#upstream?.destroy()
    this.#handler.ended(this)
  }
}

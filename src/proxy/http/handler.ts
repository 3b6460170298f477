import type { Logger } from '../../telemetry/log.ts'
import type { ClusterRuntime } from '../cluster/cluster.ts'
import type { HttpHandling } from '../model/listener.ts'
import { type Figures, Histogram } from '../stats.ts'
import { accessLog, type LogFiles, type LogWriter } from './access-log.ts'
import { Active } from './active.ts'
import type { Downstream } from './downstream.ts'
import { ProxyExchange } from './exchange.ts'
import { type CompiledFilter, compileFilter } from './filters.ts'
import { Router } from './routes.ts'

export interface HandlerOptions {
  settings: HttpHandling
  clusters: ReadonlyMap<string, ClusterRuntime>
  figures: Figures
  files: LogFiles
  log: Logger
  /** Bytes of a request that are kept so that it can be sent again. */
  bufferLimit: number
}

/** How often exchanges are looked at for silence, in milliseconds. */
const SWEEP = 1000

/** The HTTP side of one filter chain: what all its requests share. */
export class HttpHandler implements Disposable {
  readonly settings: HttpHandling
  readonly router: Router
  readonly filters: readonly CompiledFilter[]
  readonly logs: readonly LogWriter[]
  readonly clusters: ReadonlyMap<string, ClusterRuntime>
  readonly figures: Figures
  readonly requestTime = new Histogram()
  readonly bufferLimit: number
  readonly log: Logger
  readonly active = new Active<ProxyExchange>()
  readonly #sweep: NodeJS.Timeout | undefined

  /** Throws for a format or a regular expression that is none. */
  constructor({ settings, clusters, figures, files, log, bufferLimit }: HandlerOptions) {
    this.settings = settings
    this.router = new Router(settings.routes)
    this.filters = settings.filters.map(compileFilter)
    this.logs = settings.accessLogs.map((one) => accessLog(one, files))
    this.clusters = clusters
    this.figures = figures
    this.log = log
    this.bufferLimit = bufferLimit
    this.#sweep = setInterval(() => {
      const now = performance.now()
      for (const exchange of this.active.snapshot()) exchange.sweep(now)
    }, SWEEP).unref()
  }

  handle(downstream: Downstream): ProxyExchange {
    const exchange = new ProxyExchange(this, downstream)
    exchange.start()
    return exchange
  }

  [Symbol.dispose](): void {
    clearInterval(this.#sweep)
  }
}

import { milliseconds } from '../../resources/agent-schema.ts'
import type { MetricsAdapterSpec } from '../../resources/metrics-adapter-schema.ts'
import { HttpClient } from '../../transport/http1/client.ts'
import { every, Needs } from '../needs.ts'
import type { RoleContext } from '../role.ts'
import type { MetricFamily } from './families.ts'
import { metricsRequest } from './otlp-json.ts'
import { readPage } from './prometheus-text.ts'
import { StatsdLines, StatsdSender } from './statsd-output.ts'

/** Bytes of the app's page. */
const LARGEST_PAGE = 16 << 20

/** Asks the app for its metrics, and sends what there is on: each at its own pace, until disposed. */
export class Outputs implements AsyncDisposable {
  readonly #client = new HttpClient({ connections: 2 })
  readonly #stop = new AbortController()
  readonly #needs: Needs
  readonly #running: Promise<void>[] = []
  readonly #statsd: StatsdSender | undefined
  readonly #last: (() => Promise<void>) | undefined
  #scraped: readonly MetricFamily[] = []
  #counts = { scrapes: 0, failedScrapes: 0, malformed: 0, exports: 0, failedExports: 0 }

  /** `own`: what came by StatsD. */
  constructor({ scrape, outputs = {} }: MetricsAdapterSpec, context: RoleContext, own: () => readonly MetricFamily[]) {
    this.#needs = new Needs(context)
    const { statsd, otlp } = outputs
    if (statsd) this.#statsd = new StatsdSender(statsd.address)
    const lines = new StatsdLines({ prefix: statsd?.prefix ?? '', tags: statsd?.tags ?? 'datadog' })
    if (scrape) {
      this.#loop(scrape.interval, () =>
        this.#try(`the app's metrics at ${shown(scrape.url)}`, 'failedScrapes', async () => {
          await this.#scrape(scrape)
          await this.#statsd?.send(lines.of(this.#scraped))
        }),
      )
    }
    if (otlp) {
      const since = Date.now()
      const url = new URL(otlp.endpoint)
      if (url.pathname === '/') url.pathname = '/v1/metrics'
      const resource = { 'service.name': context.appId, ...(context.namespace !== '' && { 'service.namespace': context.namespace }) }
      const send = () =>
        this.#try(`the OTLP receiver at ${url.host}`, 'failedExports', async () => {
          const families = [...own(), ...this.#scraped]
          if (families.length === 0) return
          await this.#post(url, metricsRequest({ families, resource, since, now: Date.now() }), otlp)
          this.#counts.exports++
        })
      this.#last = send
      this.#loop(otlp.interval, send)
    }
  }

  get status(): Readonly<Record<string, number>> {
    return { ...this.#counts, sent: this.#statsd?.sent ?? 0, failedSends: this.#statsd?.failed ?? 0 }
  }

  #loop(interval: string | undefined, work: () => Promise<void>): void {
    this.#running.push(every(milliseconds(interval, '15s'), this.#stop.signal, work))
  }

  async #try(what: string, count: 'failedScrapes' | 'failedExports', work: () => Promise<void>): Promise<void> {
    try {
      await work()
      this.#needs.works(what)
    } catch (error) {
      if (this.#stop.signal.aborted) return
      this.#counts[count]++
      this.#needs.failed(what, error)
    }
  }

  async #scrape({ url, timeout, headers }: NonNullable<MetricsAdapterSpec['scrape']>): Promise<void> {
    const reply = await this.#client.request({
      method: 'GET',
      url: new URL(url),
      headers: { accept: 'text/plain;version=0.0.4', ...headers },
      signal: AbortSignal.any([this.#stop.signal, AbortSignal.timeout(milliseconds(timeout, '5s'))]),
      limit: LARGEST_PAGE,
      tooLarge: () => new Error(`its page has more than ${LARGEST_PAGE} bytes`),
    })
    if (reply.status !== 200) throw new Error(`answers ${reply.status}`)
    const { families, malformed } = readPage(reply.body.toString())
    this.#counts.scrapes++
    this.#counts.malformed += malformed
    this.#scraped = families
  }

  async #post(url: URL, body: string, { timeout, headers }: { timeout?: string; headers?: Record<string, string> }): Promise<void> {
    const reply = await this.#client.request({
      method: 'POST',
      url,
      headers: { 'content-type': 'application/json', ...headers },
      body,
      signal: AbortSignal.timeout(milliseconds(timeout, '10s')),
      limit: 1 << 20,
      tooLarge: () => new Error('answers with more than 1 MiB'),
    })
    if (reply.status < 200 || reply.status > 299) throw new Error(`answers ${reply.status}: ${reply.body.toString().slice(0, 200)}`)
  }

  /** Sends by OTLP once more what came since the last time, unless nobody took it then. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await Promise.all(this.#running)
    if (this.#needs.away.size === 0) await this.#last?.()
    await this.#statsd?.[Symbol.asyncDispose]()
    await this.#client[Symbol.asyncDispose]()
  }
}

/** Without what may be secret. */
function shown(url: string): string {
  const { origin, pathname } = new URL(url)
  return origin + pathname
}

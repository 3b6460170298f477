import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { IncomingMessage } from 'node:http'
import { Counter, Histogram } from '../../telemetry/labelled.ts'

const BEGUN = 'http.server.request.start'
const ENDED = 'http.server.response.finish'
/** Upper bounds, seconds. */
const LATENCIES = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
/** Endpoints that are told apart. */
const MOST = 200

/** Counts the requests to all HTTP/1.1 servers of this process, by what Node itself tells of them: nothing is asked while nobody counts. */
export class RequestCounts implements Disposable {
  readonly #total = new Counter('sidecar_requests_total', 'Requests to the HTTP servers of this process.', ['endpoint'])
  readonly #seconds = new Histogram(
    'sidecar_request_duration_seconds',
    'Seconds from the request to the end of its answer.',
    ['endpoint'],
    LATENCIES,
  )
  readonly #began = new WeakMap<IncomingMessage, number>()
  readonly #endpoints = new Set<string>()

  constructor() {
    subscribe(BEGUN, this.#begun)
    subscribe(ENDED, this.#ended)
  }

  #begun = (message: unknown) => {
    this.#began.set((message as { request: IncomingMessage }).request, performance.now())
  }

  #ended = (message: unknown) => {
    const { request } = message as { request: IncomingMessage }
    const began = this.#began.get(request)
    if (began === undefined) return
    const endpoint = this.#endpoint(request.url ?? '/')
    this.#total.add(endpoint)
    this.#seconds.series(endpoint).record((performance.now() - began) / 1000)
  }

  #endpoint(url: string): string {
    const endpoint = endpointOf(url)
    if (this.#endpoints.has(endpoint)) return endpoint
    if (this.#endpoints.size >= MOST) return 'other'
    this.#endpoints.add(endpoint)
    return endpoint
  }

  text(): string {
    return this.#total.text() + this.#seconds.text()
  }

  [Symbol.dispose](): void {
    unsubscribe(BEGUN, this.#begun)
    unsubscribe(ENDED, this.#ended)
  }
}

/** What a path is counted under: the part that names what is asked for, without names of things. `/v1.0/state/orders/7` is `/v1.0/state`. */
export function endpointOf(url: string): string {
  const segments = (url.split('?', 1)[0] as string).split('/')
  const kept = /^v\d/.test(segments[1] ?? '') ? segments.slice(1, 3) : segments.slice(1, 2)
  return `/${kept.join('/').slice(0, 64)}`
}

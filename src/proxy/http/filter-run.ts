import type { ProxyExchange } from './exchange.ts'
import { applyChanges } from './fields.ts'
import { type CompiledFilter, corsOf, faultOf, inForce, NO_FILTERS } from './filters.ts'
import type { Told } from './format.ts'
import { localReply } from './local-reply.ts'
import type { CompiledFilters } from './routes.ts'

/** What the filters of a listener make of one request, one after another: it goes on, has been answered, or waits. */
export class FilterRun {
  /** For the reply, whoever makes it. */
  corsHeaders: string[] | undefined
  healthCheck = false
  readonly #exchange: ProxyExchange
  readonly #done: () => void
  /** Gathers a body for a filter that wants it whole. */
  #gathered: { chunks: Buffer[]; size: number; most: number; next: number } | undefined

  /** `done`: all of them let it pass. */
  constructor(exchange: ProxyExchange, done: () => void) {
    this.#exchange = exchange
    this.#done = done
  }

  /** Runs the filters from this one on. */
  run(from: number): void {
    const { filters } = this.#exchange.handler
    for (let at = from; at < filters.length; at++) if (!this.#passes(filters[at] as CompiledFilter, at)) return
    this.#done()
  }

  /** False: the filter has answered, or goes on later. */
  #passes(filter: CompiledFilter, at: number): boolean {
    const exchange = this.#exchange
    const own: CompiledFilters = exchange.route?.filters ?? NO_FILTERS
    const { figures } = exchange.handler
    switch (filter.kind) {
      case 'fault': {
        const policy = inForce(own.fault, filter.policy)
        const fault = policy && faultOf(policy, exchange)
        if (!fault || (fault.delay === 0 && fault.abort === 0)) return true
        this.#fault(fault, at)
        return false
      }
      case 'cors': {
        const cors = own.cors ? corsOf(own.cors, exchange.method, exchange.fields) : undefined
        if (cors?.preflight) {
          // It is about what comes after it: the route's own headers are not for it.
          exchange.route = undefined
          exchange.answer(200, cors.headers, undefined, 'cors')
          return false
        }
        this.corsHeaders = cors?.headers
        return true
      }
      case 'access': {
        const test = inForce(own.access, filter.test)
        if (!test || test(exchange, exchange.connection, exchange.client)) {
          ;(figures.rbac_allowed as number)++
          return true
        }
        ;(figures.rbac_denied as number)++
        exchange.fail(403, 'RBAC: access denied', 'UAEX', 'rbac_access_denied')
        return false
      }
      case 'rate-limit': {
        const limit = inForce(own.rateLimit, filter.policy)
        if (!limit || (limit.enabledPercent < 100 && Math.random() * 100 >= limit.enabledPercent) || limit.bucket.take()) {
          ;(figures.local_rate_ok as number)++
          return true
        }
        ;(figures.local_rate_limited as number)++
        const reply = localReply(exchange.downstream, limit.status, 'local_rate_limited')
        applyChanges<Told>(reply.fields, limit.changes, exchange)
        exchange.flags = 'RL'
        exchange.answer(reply.status, reply.fields, reply.body, 'local_rate_limited')
        return false
      }
      case 'health':
        if (!filter.test.every((test) => test(exchange))) return true
        this.healthCheck = true
        exchange.answer(200, ['content-length', '0'], undefined, 'health_check_ok')
        return false
      case 'buffer':
        if (!exchange.downstream.streaming) return true
        this.#gathered = { chunks: [], size: 0, most: filter.maxBytes, next: at + 1 }
        return false
    }
  }

  #fault({ delay, abort }: { delay: number; abort: number }, at: number): void {
    const exchange = this.#exchange
    const { handler, downstream } = exchange
    const go = () => {
      if (exchange.over) return
      if (abort === 0) return this.run(at + 1)
      ;(handler.figures.fault_aborts_injected as number)++
      exchange.fail(abort, 'fault filter abort', 'FI', 'fault_filter_abort')
    }
    if (delay === 0) return go()
    ;(handler.figures.fault_delays_injected as number)++
    exchange.flags = 'DI'
    if (downstream.streaming) downstream.pause()
    setTimeout(() => {
      if (downstream.streaming) downstream.resume()
      go()
    }, delay)
  }

  /** Whether a filter has taken this of the body. */
  data(chunk: Buffer): boolean {
    const gathered = this.#gathered
    if (!gathered) return false
    gathered.size += chunk.length
    if (gathered.size > gathered.most) {
      this.#gathered = undefined
      this.#exchange.fail(413, 'Payload Too Large', '', 'request_payload_too_large')
    } else gathered.chunks.push(chunk)
    return true
  }

  /** Whether a filter has waited for the end of the body, and goes on with all of it. */
  end(): boolean {
    const gathered = this.#gathered
    if (!gathered) return false
    this.#gathered = undefined
    this.#exchange.body = Buffer.concat(gathered.chunks)
    this.run(gathered.next)
    return true
  }
}

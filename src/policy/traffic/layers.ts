import { messageOf } from '../../errors.ts'
import { type Runner, withTimeout } from '../runner.ts'
import { overloaded, rateLimited } from './shed.ts'
import type { TargetTraffic } from './traffic.ts'

/** Refuses calls that come faster than the target's rate. */
export function rateLayer(traffic: TargetTraffic, what: string, caller = ''): Runner | undefined {
  const { rate } = traffic
  if (!rate) return undefined
  // On the way out there is one caller, the app beside us.
  const perCaller = rate.perCaller && traffic.direction === 'inbound'
  const key = perCaller ? caller : ''
  return async (operation, signal) => {
    if (!rate.buckets.take(key, performance.now())) {
      traffic.acted('rateLimit', 'shed')
      throw rateLimited(perCaller ? `${what} for the caller ${caller || 'unknown'}` : what, rate.perSecond, rate.buckets.wait(key))
    }
    return operation(signal)
  }
}

/** Refuses calls for which the adaptive limit has no place, and tells it how the others went. */
export function concurrencyLayer(traffic: TargetTraffic, what: string): Runner | undefined {
  const { limit } = traffic
  if (!limit) return undefined
  return async (operation, signal) => {
    if (!limit.enter()) {
      traffic.acted('concurrencyLimit', 'shed')
      throw overloaded(what, limit.limit)
    }
    const began = performance.now()
    const leave = (well: boolean, load: boolean) => {
      limit.leave(well ? performance.now() - began : undefined, load)
      traffic.limitIs(limit.limit)
    }
    try {
      const result = await operation(signal)
      leave(true, false)
      return result
    } catch (error) {
      leave(false, !signal?.aborted && speaksOfLoad(error))
      throw error
    }
  }
}

/** Bounds what is inside it. */
export function timeoutLayer(traffic: TargetTraffic, which: 'perTry' | 'overall'): Runner | undefined {
  const milliseconds = traffic[which]
  if (!milliseconds) return undefined
  return (operation, signal) => withTimeout(operation, milliseconds, signal, () => traffic.acted('timeout', which))
}

/** Counts calls for the budget, once each, however often they are tried. */
export function budgetLayer({ budget }: TargetTraffic): Runner | undefined {
  if (!budget) return undefined
  return (operation, signal) => {
    budget.call()
    return operation(signal)
  }
}

/** A passed deadline, or a refusal by HTTP 429 and 503, gRPC ResourceExhausted and Unavailable. */
function speaksOfLoad(error: unknown): boolean {
  const { status, code } = error as { status?: unknown; code?: unknown }
  return [429, 503, 8, 14].includes(Number(status ?? code)) || messageOf(error) === 'context deadline exceeded'
}

import type { CallPolicies, Resiliency } from '../resiliency.ts'
import { type Runner, stack } from '../runner.ts'
import { budgetLayer, concurrencyLayer, rateLayer, timeoutLayer } from './layers.ts'
import type { Traffic } from './traffic.ts'

const bare: Runner = (operation, signal) => operation(signal)

/**
 * The layers of a call from the app beside us to another, top to bottom. Below them the resolver's balancer chooses an address,
 * and the ejection of outliers says which it may choose: each request of a call can go elsewhere.
 */
export function outboundPolicies(resiliency: Pick<Resiliency, 'app' | 'hasApp'>, traffic: Traffic): CallPolicies {
  const mayRetry = (appId: string): boolean => {
    const target = traffic.app(appId)
    const allowed = target?.budget?.take() ?? true
    if (!allowed) target?.acted('retryBudget', 'refused')
    return allowed
  }
  return {
    hasApp: (appId) => resiliency.hasApp(appId),
    mayRetry,
    outliers: (appId) => traffic.app(appId)?.outliers,
    app(appId, key) {
      const target = traffic.app(appId)
      if (!target) return resiliency.app(appId, key)
      const tries = resiliency.app(appId, key, target.budget && (() => mayRetry(appId)))
      const runner = stack([
        // The rate limit stands first: a refused call costs nothing, takes no place and earns no budget.
        rateLayer(target, `app ${appId}`),
        // The concurrency limit next: it counts calls, not tries, so that a call never waits for a place that it holds itself.
        concurrencyLayer(target, `app ${appId}`),
        // The budget counts what was let in.
        budgetLayer(target),
        // The overall timeout around all tries and their waits: what the caller waits at most.
        timeoutLayer(target, 'overall'),
        // Resiliency's retry (breaker (timeout)): only it may call again, and its breaker sees every try.
        tries?.runner,
        // The timeout of one try inside the retry, so that a slow try can be followed by another.
        timeoutLayer(target, 'perTry'),
      ])
      const { hedge, fault } = target
      return {
        runner: runner ?? bare,
        retries: tries?.retries === true,
        // A hedge is inside a try: it answers for slowness, the retry for failure, and one try stays one to the breaker.
        hedge,
        // Faults are lowest, in each request, so that everything above can be seen to deal with them.
        fault,
      }
    },
  }
}

import { isDeepStrictEqual } from 'node:util'
import type { TrafficPolicyResource } from '../../resources/kinds.ts'
import { TRAFFIC_POLICIES, type TrafficNames, type TrafficPolicySpec } from '../../resources/traffic-schema.ts'
import { policyDuration } from '../retry.ts'
import type { Runner } from '../runner.ts'
import { Buckets } from '../token-buckets.ts'
import { ConcurrencyLimit } from './concurrency-limit.ts'
import { createFault } from './fault.ts'
import { Hedging } from './hedging.ts'
import { Outliers } from './outliers.ts'
import { RetryBudget } from './retry-budget.ts'

export type TrafficDirection = 'inbound' | 'outbound'

/** Hears of each time that a policy acts. */
export interface TrafficObserver {
  /**
   * @param policy The field of the target, e.g. `rateLimit`.
   * @param action What it did, e.g. `shed`.
   */
  acted(direction: TrafficDirection, target: string, policy: keyof TrafficNames, action: string): void
  /** The adaptive limit of a target after a call. */
  limit(direction: TrafficDirection, target: string, limit: number): void
}

export interface RateLimit {
  readonly buckets: Buckets
  readonly perSecond: number
  readonly perCaller: boolean
}

/** The policies of one target, with what they have learned. */
export interface TargetTraffic {
  readonly target: string
  readonly direction: TrafficDirection
  readonly budget: RetryBudget | undefined
  readonly perTry: number | undefined
  readonly overall: number | undefined
  readonly hedge: Hedging | undefined
  readonly limit: ConcurrencyLimit | undefined
  readonly rate: RateLimit | undefined
  readonly outliers: Outliers | undefined
  readonly fault: Runner | undefined
  /** Tells the observer. */
  acted(policy: keyof TrafficNames, action: string): void
  limitIs(limit: number): void
}

interface Target {
  readonly names: TrafficNames
  readonly policies: TrafficPolicySpec['policies']
}

/** Apps whose policies' state is kept; of more the one first called begins anew. */
const MAX_APPS = 1000

/** All TrafficPolicy resources of one sidecar. Of several for one target the one read last counts, whole. */
export class Traffic {
  readonly #apps = new Map<string, Target>()
  #inbound: Target | undefined
  readonly #made = new Map<string, TargetTraffic>()
  #ownMade: TargetTraffic | undefined
  readonly #observer: TrafficObserver | undefined

  /** `before`: those that were in force until now; targets whose policies read as they did go on with what they have learned. */
  constructor(resources: readonly TrafficPolicyResource[], observer?: TrafficObserver, before?: Traffic) {
    this.#observer = observer
    for (const { spec } of resources) {
      const { policies, targets } = spec
      for (const [app, names] of Object.entries(targets.apps ?? {})) this.#apps.set(app, { names, policies })
      if (targets.inbound) this.#inbound = { names: targets.inbound, policies }
    }
    if (!before) return
    for (const [app, made] of before.#made) if (sameTarget(this.#targetOf(app), before.#targetOf(app))) this.#made.set(app, made)
    if (sameTarget(this.#inbound, before.#inbound)) this.#ownMade = before.#ownMade
  }

  /** Reads every target's policies now. Throws an Error for one that cannot be read. */
  makeAll(): void {
    for (const app of this.#apps.keys()) this.app(app)
    this.inbound()
  }

  #targetOf(app: string): Target | undefined {
    return this.#apps.get(app) ?? this.#apps.get('*')
  }

  /** Whether calls to other apps have policies. */
  get coversApps(): boolean {
    return this.#apps.size > 0
  }

  /** The policies of calls to an app; undefined: none. */
  app(appId: string): TargetTraffic | undefined {
    const known = this.#made.get(appId)
    if (known) return known
    const found = this.#targetOf(appId)
    if (!found) return undefined
    const made = this.#make(found, `app_${appId}`, 'outbound')
    this.#made.set(appId, made)
    if (this.#made.size > MAX_APPS) this.#made.delete(this.#made.keys().next().value as string)
    return made
  }

  /** The policies of calls to the app beside us; undefined: none. */
  inbound(): TargetTraffic | undefined {
    this.#ownMade ??= this.#inbound && this.#make(this.#inbound, 'own', 'inbound')
    return this.#ownMade
  }

  #make({ names, policies }: Target, target: string, direction: TrafficDirection): TargetTraffic {
    const acted: TargetTraffic['acted'] = (policy, action) => this.#observer?.acted(direction, target, policy, action)
    const budget = pick(policies.retryBudgets, names.retryBudget)
    const timeout = pick(policies.timeouts, names.timeout)
    const hedge = pick(policies.hedges, names.hedge)
    const limit = pick(policies.concurrencyLimits, names.concurrencyLimit)
    const rate = pick(policies.rateLimits, names.rateLimit)
    const ejection = pick(policies.ejections, names.ejection)
    const fault = pick(policies.faults, names.fault)
    const retries =
      budget &&
      new RetryBudget({
        share: (budget.percent ?? 20) / 100,
        minPerSecond: budget.minPerSecond ?? 3,
        window: policyDuration(budget.window, 10_000, 'window') || 10_000,
      })
    return {
      target,
      direction,
      acted,
      limitIs: (value) => this.#observer?.limit(direction, target, value),
      budget: retries,
      perTry: timeout && policyDuration(timeout.perTry, 0, 'perTry'),
      overall: timeout && policyDuration(timeout.overall, 0, 'overall'),
      hedge:
        hedge &&
        new Hedging(
          {
            delay: policyDuration(hedge.delay, 100, 'delay'),
            percentile: hedge.percentile === undefined ? undefined : hedge.percentile / 100,
            maxAttempts: hedge.maxAttempts ?? 2,
            methods: hedge.methods ?? ['GET', 'HEAD', 'OPTIONS'],
          },
          () => {
            const allowed = retries?.take() ?? true
            acted('hedge', allowed ? 'sent' : 'refused')
            return allowed
          },
        ),
      limit:
        limit &&
        new ConcurrencyLimit({
          algorithm: limit.algorithm ?? 'aimd',
          initial: limit.initial ?? 20,
          min: limit.min ?? 1,
          max: limit.max ?? 1000,
          latency: policyDuration(limit.latency, 1000, 'latency'),
          tolerance: limit.tolerance ?? 1.5,
        }),
      rate: rate && {
        buckets: new Buckets(rate.requestsPerSecond, rate.burst ?? Math.max(1, Math.ceil(rate.requestsPerSecond))),
        perSecond: rate.requestsPerSecond,
        perCaller: rate.per === 'caller',
      },
      outliers:
        ejection &&
        new Outliers(
          {
            consecutiveFailures: ejection.consecutiveFailures ?? 5,
            baseTime: policyDuration(ejection.baseTime, 10_000, 'baseTime'),
            maxTime: policyDuration(ejection.maxTime, 300_000, 'maxTime'),
            maxShare: (ejection.maxEjectedPercent ?? 50) / 100,
          },
          () => acted('ejection', 'ejected'),
        ),
      fault:
        fault &&
        createFault(
          {
            name: names.fault as string,
            delay: fault.delay && { share: fault.delay.percent / 100, time: policyDuration(fault.delay.duration, 0, 'duration') },
            error: fault.error && {
              share: fault.error.percent / 100,
              http: fault.error.httpStatus ?? 503,
              grpc: fault.error.grpcStatus ?? 14,
            },
            abort: fault.abort && { share: fault.abort.percent / 100 },
          },
          (action) => acted('fault', action),
        ),
    }
  }
}

/** Whether both are there and stand for the same policies, whatever these are called. */
function sameTarget(one: Target | undefined, other: Target | undefined): boolean {
  const said = ({ names, policies }: Target) =>
    Object.entries(TRAFFIC_POLICIES).map(([field, group]) => pick<unknown>(policies[group], names[field as keyof TrafficNames]))
  // A fault is told by its name.
  return one !== undefined && other !== undefined && one.names.fault === other.names.fault && isDeepStrictEqual(said(one), said(other))
}

function pick<T>(group: Readonly<Record<string, T>> | undefined, name: string | undefined): T | undefined {
  return name === undefined ? undefined : group?.[name]
}

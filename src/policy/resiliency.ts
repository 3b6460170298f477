import { messageOf } from '../errors.ts'
import type { PolicyNames, ResiliencyResource } from '../resources/kinds.ts'
import type { Logger } from '../telemetry/log.ts'
import { type BreakerSettings, type BreakerState, CircuitBreaker, parseBreaker } from './circuit-breaker.ts'
import { parseRetry, policyDuration, type RetryPolicy } from './retry.ts'
import { createRunner, type PolicyKind, type Runner, type RunnerOptions } from './runner.ts'
import type { Hedging } from './traffic/hedging.ts'
import type { Outliers } from './traffic/outliers.ts'

/** As default policies name a component's kind, e.g. `DefaultStatestoreComponentOutboundRetryPolicy`. */
export type ComponentKind = 'Binding' | 'Configuration' | 'Lock' | 'Pubsub' | 'Crypto' | 'Conversation' | 'Secretstore' | 'Statestore'
export type Direction = 'inbound' | 'outbound'

/** One policy at work on one target, as metrics name them. */
export interface PolicyEvent {
  /** Name and namespace of the Resiliency resource that was read last: policies of all of them are one table. */
  name: string
  namespace: string
  /** `app_ID` or `KIND_NAME`. */
  target: string
  direction: Direction
  kind: PolicyKind
  /** State of the breaker, empty for other policies. */
  status: BreakerState | ''
}

/** Hears what the policies do. */
export interface PolicyObserver {
  loaded(resource: { name: string; namespace: string }): void
  /** A policy stands around an operation that begins. */
  executed(event: PolicyEvent): void
  /** A policy did something. */
  activated(event: PolicyEvent): void
}

export interface ResiliencyOptions {
  resources: readonly ResiliencyResource[]
  log: Logger
  observer?: PolicyObserver | undefined
}

/** What one operation of a target is to be called with. */
export interface TargetPolicy {
  runner: Runner
  /** Whether the operation may be run more than once, so that what it sends has to be kept. */
  retries: boolean
  /** Sends a slow request again before it has failed. */
  hedge?: Hedging | undefined
  /** Faults injected into each request. */
  fault?: Runner | undefined
}

/** What calls to apps ask for. */
export interface CallPolicies {
  /**
   * The policies of calls to an app; undefined: none.
   * @param key what a breaker is kept for, e.g. the app's id and the method
   */
  app(appId: string, key: string): TargetPolicy | undefined
  /** Whether an app has its own entry: then the built-in retries of service invocation do not apply. */
  hasApp(appId: string): boolean
  /** Whether the budget of retries allows one more; absent: there is none. */
  mayRetry?(appId: string): boolean
  /** Which addresses of the app are put out for failing; undefined: that is not looked at. */
  outliers?(appId: string): Outliers | undefined
}

/** Dapr's built-in retry of service invocation, unless a resource redefines it. */
const BUILT_IN_SERVICE = 'DaprBuiltInServiceRetries'
const PROTECTED = 'DaprBuiltInActorNotFoundRetries'
const MIN_BUILT_IN = 3
const CACHE_SIZE = 100
/** Apps and URLs whose breakers are kept; the one called longest ago goes. */
const MAX_APPS = 1000

/** All policies of one sidecar, read from its Resiliency resources. Later resources replace names of earlier ones. */
export class Resiliency implements CallPolicies {
  readonly #log: Logger
  readonly #observer: PolicyObserver | undefined
  #last = { name: '', namespace: '' }
  #appDefaults: PolicyNames | undefined
  readonly #timeouts = new Map<string, number>()
  readonly #retries = new Map<string, RetryPolicy>()
  readonly #breakers = new Map<string, BreakerSettings>()
  readonly #apps = new Map<string, PolicyNames & { circuitBreakerCacheSize?: number }>()
  readonly #components = new Map<string, { inbound?: PolicyNames; outbound?: PolicyNames }>()
  /** Breakers of one component serve both directions. */
  readonly #componentBreakers = new Map<string, CircuitBreaker>()
  readonly #appBreakers = new Map<string, Map<string, CircuitBreaker>>()
  readonly #componentRunners = new Map<string, Runner | undefined>()

  private constructor(options: ResiliencyOptions) {
    this.#log = options.log.scope('dapr.runtime.resiliency')
    this.#observer = options.observer
    this.#retries.set(BUILT_IN_SERVICE, parseRetry(BUILT_IN_SERVICE, { duration: '1s', maxRetries: 3 }))
  }

  /** Reads the resources; one that cannot be read is logged, and what came before its mistake stays. */
  static async load(options: ResiliencyOptions): Promise<Resiliency> {
    const resiliency = new Resiliency(options)
    for (const resource of options.resources) {
      resiliency.#log.info(`Loading Resiliency configuration: ${resource.name}`)
      try {
        await resiliency.#take(resource)
      } catch (error) {
        resiliency.#log.error(`Could not read resiliency policy ${resource.name}: ${messageOf(error)}`)
        continue
      }
      resiliency.#last = { name: resource.name, namespace: resource.namespace ?? '' }
      options.observer?.loaded(resiliency.#last)
    }
    return resiliency
  }

  async #take({ spec }: ResiliencyResource): Promise<void> {
    const { policies = {}, targets = {} } = spec
    for (const [name, text] of Object.entries(policies.timeouts ?? {})) this.#timeouts.set(name, policyDuration(text, 0, `timeout ${name}`))
    for (const [name, text] of Object.entries(policies.retries ?? {})) {
      if (name === PROTECTED) {
        this.#log.warn(`Attempted to override protected policy ${name} which is not allowed. Ignoring provided policy and using default.`)
        continue
      }
      let retry = parseRetry(name, text)
      if (name.startsWith('DaprBuiltIn') && retry.maxRetries < MIN_BUILT_IN) {
        this.#log.warn(`Attempted override of ${name} did not meet minimum retry count, resetting to ${MIN_BUILT_IN}.`)
        retry = { ...retry, maxRetries: MIN_BUILT_IN }
      }
      this.#retries.set(name, retry)
    }
    for (const [name, text] of Object.entries(policies.circuitBreakers ?? {})) this.#breakers.set(name, await parseBreaker(name, text))
    for (const [name, target] of Object.entries(targets.apps ?? {})) this.#apps.set(name, target ?? {})
    for (const [name, target] of Object.entries(targets.components ?? {})) this.#components.set(name, target ?? {})
  }

  /** Whether anything is configured for calls to apps: without it `app` need not be asked. */
  get coversApps(): boolean {
    return this.#apps.size > 0 || Object.keys(this.#defaultsOfApps()).length > 0
  }

  hasApp(appId: string): boolean {
    return this.#apps.has(appId)
  }

  /** The retry of service invocation that applies without an entry for the app. */
  get builtInServiceRetry(): RetryPolicy {
    return this.#retries.get(BUILT_IN_SERVICE) as RetryPolicy
  }

  app(appId: string, key: string, mayRetry?: () => boolean): TargetPolicy | undefined {
    const target = this.#apps.get(appId)
    const names = target ?? this.#defaultsOfApps()
    const retry = this.#retries.get(names.retry ?? '')
    const settings = this.#breakers.get(names.circuitBreaker ?? '')
    const runner = createRunner({
      name: `endpoint[${appId}, ${key}]`,
      retry,
      mayRetry,
      timeout: this.#timeouts.get(names.timeout ?? ''),
      breaker: settings && this.#appBreaker(appId, key, settings, target?.circuitBreakerCacheSize ?? CACHE_SIZE),
      log: this.#log,
      ...this.#observed(`app_${appId}`, 'outbound'),
    })
    return runner && { runner, retries: retry !== undefined && retry.maxRetries !== 0 }
  }

  /** The policy around calls to a component, or around what it brings to the app; undefined: none. */
  component(name: string, kind: ComponentKind, direction: Direction): Runner | undefined {
    const key = `${direction}/${name}`
    if (this.#componentRunners.has(key)) return this.#componentRunners.get(key)
    const target = this.#components.get(name)
    const way = direction === 'inbound' ? 'Inbound' : 'Outbound'
    const names = target ? (target[direction] ?? {}) : this.#defaults([`${kind}Component${way}`, `Component${way}`, 'Component', ''])
    const settings = this.#breakers.get(names.circuitBreaker ?? '')
    let breaker: CircuitBreaker | undefined
    if (settings) {
      breaker = this.#componentBreakers.get(name) ?? this.#breaker(settings, name)
      this.#componentBreakers.set(name, breaker)
    }
    const runner = createRunner({
      name: `component[${name}] ${direction === 'inbound' ? 'input' : 'output'}`,
      retry: this.#retries.get(names.retry ?? ''),
      timeout: this.#timeouts.get(names.timeout ?? ''),
      breaker,
      log: this.#log,
      ...this.#observed(`${kind}_${name}`, direction),
    })
    this.#componentRunners.set(key, runner)
    return runner
  }

  #observed(target: string, direction: Direction): Pick<RunnerOptions, 'onExecution' | 'onActivation'> {
    const observer = this.#observer
    if (!observer) return {}
    return {
      onExecution: (kind, status) => observer.executed({ ...this.#last, target, direction, kind, status }),
      onActivation: (kind, status) => observer.activated({ ...this.#last, target, direction, kind, status }),
    }
  }

  #defaultsOfApps(): PolicyNames {
    this.#appDefaults ??= this.#defaults(['App', ''])
    return this.#appDefaults
  }

  /** Each of the three by itself, the most particular name first. */
  #defaults(levels: readonly string[]): PolicyNames {
    const find = (what: string, known: ReadonlyMap<string, unknown>) =>
      levels.map((level) => `Default${level}${what}Policy`).find((name) => known.has(name))
    const retry = find('Retry', this.#retries)
    const timeout = find('Timeout', this.#timeouts)
    const circuitBreaker = find('CircuitBreaker', this.#breakers)
    return { ...(retry && { retry }), ...(timeout && { timeout }), ...(circuitBreaker && { circuitBreaker }) }
  }

  #appBreaker(appId: string, key: string, settings: BreakerSettings, size: number): CircuitBreaker {
    const cache = this.#appBreakers.get(appId) ?? new Map<string, CircuitBreaker>()
    const breaker = cache.get(key) ?? this.#breaker(settings, key)
    keep(this.#appBreakers, appId, cache, MAX_APPS)
    keep(cache, key, breaker, size)
    return breaker
  }

  #breaker(settings: BreakerSettings, instance: string): CircuitBreaker {
    return new CircuitBreaker(settings, (from, to) => this.#log.info(`Circuit breaker "${instance}" changed state from ${from} to ${to}`))
  }
}

/** Puts an entry last, as the one used last; of too many the one unused longest goes. */
function keep<T>(cache: Map<string, T>, key: string, value: T, size: number): void {
  cache.delete(key)
  cache.set(key, value)
  if (cache.size > size) cache.delete(cache.keys().next().value as string)
}

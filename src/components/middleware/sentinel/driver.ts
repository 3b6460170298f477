import type { Middleware, MiddlewareReply } from '../../../blocks/middleware/driver.ts'
import { messageOf } from '../../../errors.ts'
import type { DriverModule } from '../../component.ts'
import { MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'
import { plainPath } from '../pattern.ts'
import { step } from '../step.ts'
import { type BreakerRule, breakerGuard, flowGuard, type Guard, isolationGuard } from './rules.ts'

const metadata: readonly MetadataField[] = [
  { name: 'appName', kind: 'string', description: 'Taken and not used.' },
  { name: 'logDir', kind: 'string', description: 'Taken and not used: everything is in the log of the sidecar.' },
  {
    name: 'flowRules',
    kind: 'string',
    description: 'JSON list of `resource` (`GET:/path`), `threshold`, `statIntervalInMs` (1000): requests that may pass in that time.',
  },
  { name: 'isolationRules', kind: 'string', description: 'JSON list of `resource`, `threshold`: requests that may be under way.' },
  {
    name: 'circuitBreakerRules',
    kind: 'string',
    description:
      'JSON list of `resource`, `strategy` (0 slow requests, 1 share and 2 number of errors, which are statuses from 500), `threshold`, `retryTimeoutMs`, `minRequestAmount`, `statIntervalMs`, `maxAllowedRtMs`, `probeNum`.',
  },
  {
    name: 'hotSpotParamRules',
    kind: 'string',
    description: 'Not supported; in daprd they never match, for no parameters are told to them.',
  },
  { name: 'systemRules', kind: 'string', description: 'Not supported.' },
]

const REFUSED: MiddlewareReply = { status: 429, body: 'Too Many Requests' }
const STRATEGIES = ['slow', 'errorRatio', 'errorCount'] as const

type Rule = Readonly<Record<string, unknown>>

/** Reads a list of rules, each for one resource. Throws MetadataError that names field, rule and what is wrong. */
function read(
  field: string,
  text: unknown,
  make: (rule: Rule, number: (name: string, fallback?: number) => number) => Guard,
): [string, Guard][] {
  if (!text) return []
  const refuse = (why: string): never => {
    throw new MetadataError(`metadata field ${field}: ${why}`)
  }
  let rules: unknown
  try {
    rules = JSON.parse(String(text))
  } catch (error) {
    return refuse(`not valid JSON: ${messageOf(error)}`)
  }
  if (!Array.isArray(rules)) return refuse('expected a JSON list of rules')
  return rules.map((rule: Rule | null, index) => {
    if (typeof rule?.resource !== 'string' || rule.resource === '')
      return refuse(`rule ${index + 1} names no resource, such as GET:/orders`)
    const number = (name: string, fallback?: number): number => {
      const value = rule[name] ?? fallback
      if (typeof value !== 'number' || !(value >= 0)) throw new MetadataError(`${name} must be a number from 0`)
      return value
    }
    try {
      return [rule.resource, make(rule, number)]
    } catch (error) {
      return refuse(`rule ${index + 1} (${rule.resource}): ${messageOf(error)}`)
    }
  })
}

/** A setting of Sentinel that changes what a rule means and that is not there. */
function plainOnly(rule: Rule, name: string, meaning: string): void {
  if (rule[name]) throw new MetadataError(`${name} ${String(rule[name])} is not supported, only ${meaning}`)
}

export const driver: DriverModule<Middleware> = {
  summary: 'Sentinel rules for requests: how many may pass, how many may be under way, circuit breakers. Refused ones get status 429.',
  metadata,
  create(context) {
    const values = parseMetadata(metadata, context.properties)
    for (const [field, instead] of [
      ['hotSpotParamRules', 'limit callers with middleware.http.ratelimit or a TrafficPolicy'],
      ['systemRules', 'protect the app with --app-max-concurrency or a concurrencyLimit of a TrafficPolicy'],
    ] as const)
      if (values[field] && !/^\s*\[\s*\]\s*$/.test(String(values[field])))
        throw new MetadataError(`not supported: metadata field ${field} of component ${context.name}; ${instead}`)
    const guards = [
      ...read('flowRules', values.flowRules, (rule, number) => {
        plainOnly(rule, 'tokenCalculateStrategy', '0, direct')
        plainOnly(rule, 'controlBehavior', '0, reject')
        plainOnly(rule, 'relationStrategy', '0, the resource itself')
        return flowGuard({ resource: '', threshold: number('threshold'), interval: number('statIntervalInMs', 1000) || 1000 })
      }),
      ...read('isolationRules', values.isolationRules, (rule, number) => {
        plainOnly(rule, 'metricType', '0, concurrency')
        return isolationGuard({ resource: '', threshold: number('threshold') })
      }),
      ...read('circuitBreakerRules', values.circuitBreakerRules, (_, number) => {
        const strategy: BreakerRule['strategy'] | undefined = STRATEGIES[number('strategy', 0)]
        if (!strategy) throw new MetadataError(`strategy must be 0, 1 or 2`)
        return breakerGuard({
          resource: '',
          strategy,
          retryTimeout: number('retryTimeoutMs', 0),
          minRequests: number('minRequestAmount', 0),
          interval: number('statIntervalMs', 1000) || 1000,
          maxAllowed: number('maxAllowedRtMs', 0),
          threshold: number('threshold'),
          probes: Math.max(1, number('probeNum', 1)),
        })
      }),
    ]
    const byResource = Map.groupBy(guards, ([resource]) => resource)
    return step((passing) => {
      const rules = byResource.get(`${passing.method}:${plainPath(passing.path)}`)
      if (!rules) return undefined
      const began = performance.now()
      if (!rules.every(([, guard]) => guard.allows(began))) return REFUSED
      for (const [, guard] of rules) guard.enter(began)
      passing.onEnd((status) => {
        const now = performance.now()
        for (const [, guard] of rules) guard.leave(now, now - began, status === 0 || status >= 500)
      })
      return undefined
    })
  },
}

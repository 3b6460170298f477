import { object } from './agent-schema.ts'
import type { Schema } from './json-schema.ts'

/** Our own kinds. */
export const OUTRIDER_V1 = 'outrider.dev/v1'

const DURATION = '^(\\d+(\\.\\d+)?(ns|us|µs|ms|s|m|h))+$'

const described = (description: string, schema: Schema): Schema => ({ ...schema, description })
const duration = (description: string): Schema => ({
  type: 'string',
  pattern: DURATION,
  description: `${description} As 500ms, 2s or 1m30s.`,
})
const percent = (description: string): Schema => ({ type: 'number', minimum: 0, maximum: 100, description: `${description} In percent.` })
const count = (description: string, minimum = 1, maximum = 1_000_000): Schema => ({ type: 'integer', minimum, maximum, description })
const httpStatus: Schema = { type: 'integer', minimum: 200, maximum: 599, description: 'Status of the reply over HTTP; default 503.' }
const grpcStatus: Schema = {
  type: 'integer',
  minimum: 1,
  maximum: 16,
  description: 'Status of the reply over gRPC; default 14, Unavailable.',
}

function named(values: Schema): Schema {
  return { type: 'object', additionalProperties: values }
}

/** The kinds of policy, by their name under `spec.policies` and the field of a target that refers to them. */
export const TRAFFIC_POLICIES = {
  retryBudget: 'retryBudgets',
  timeout: 'timeouts',
  hedge: 'hedges',
  concurrencyLimit: 'concurrencyLimits',
  rateLimit: 'rateLimits',
  ejection: 'ejections',
  fault: 'faults',
} as const

const policies = object({
  retryBudgets: named(
    object({
      percent: percent('Retries for each hundred calls of the window; default 20.'),
      minPerSecond: { type: 'number', minimum: 0, maximum: 1_000_000, description: 'Retries a second that are free; default 3.' },
      window: duration('What is looked back upon; default 10s.'),
    }),
  ),
  timeouts: named(object({ perTry: duration('For one try.'), overall: duration('For all tries and the waits between them.') })),
  hedges: named(
    object({
      delay: duration('When a further request begins; with percentile, until enough calls were measured. Default 100ms.'),
      percentile: described('Begin a further one once this share of the last calls would have been answered.', {
        type: 'number',
        minimum: 1,
        maximum: 99.9,
      }),
      maxAttempts: count('Requests at once, the first included; default 2.', 2, 5),
      methods: described('HTTP methods that may be sent twice; default GET, HEAD, OPTIONS.', {
        type: 'array',
        items: { type: 'string', pattern: '^[A-Z]+$' },
      }),
    }),
  ),
  concurrencyLimits: named(
    object({
      algorithm: { type: 'string', enum: ['aimd', 'gradient'], description: 'Default aimd.' },
      initial: count('Calls at once to begin with; default 20.'),
      min: count('Never fewer; default 1.'),
      max: count('Never more; default 1000.'),
      latency: duration('aimd: a call that takes longer lowers the limit; default 1s.'),
      tolerance: {
        type: 'number',
        minimum: 1,
        maximum: 10,
        description: 'gradient: how much slower than usual is still well; default 1.5.',
      },
    }),
  ),
  rateLimits: named(
    object(
      {
        requestsPerSecond: { type: 'number', minimum: 0.001, maximum: 1_000_000, description: 'Fractions are allowed.' },
        burst: count('Requests that may come at once; default: those of one second.'),
        per: {
          type: 'string',
          enum: ['app', 'caller'],
          description: 'One bucket for the app, or one for each caller: its SPIFFE id, without mTLS the app id that it tells. Default app.',
        },
      },
      ['requestsPerSecond'],
    ),
  ),
  ejections: named(
    object({
      consecutiveFailures: count('Failed calls in a row that put an address out; default 5.'),
      baseTime: duration('How long the first time; default 10s. Doubled each time.'),
      maxTime: duration('At most; default 5m.'),
      maxEjectedPercent: percent('Addresses of an app that may be out at once; default 50.'),
    }),
  ),
  faults: named(
    object({
      delay: object({ percent: percent('Of the requests.'), duration: duration('How long.') }, ['percent', 'duration']),
      error: object({ percent: percent('Of the requests.'), httpStatus, grpcStatus }, ['percent']),
      abort: object({ percent: percent('Of the requests: a connection that is lost.') }, ['percent']),
    }),
  ),
})

const reference = (of: string): Schema => ({ type: 'string', description: `One of spec.policies.${of}.` })
const names = Object.fromEntries(Object.entries(TRAFFIC_POLICIES).map(([field, group]) => [field, reference(group)]))
const { rateLimit, concurrencyLimit, fault } = names as Record<string, Schema>

/** spec of a TrafficPolicy. */
export const trafficPolicySpec: Schema = object(
  {
    policies,
    targets: object({
      apps: described('Calls of the app beside us to others, by app id; `*`: to every app without an entry.', named(object(names))),
      inbound: described(
        'Calls of other sidecars to the app beside us.',
        object({ rateLimit, concurrencyLimit, fault } as Record<string, Schema>),
      ),
    }),
  },
  ['policies', 'targets'],
)

export interface RetryBudgetSpec {
  percent?: number
  minPerSecond?: number
  window?: string
}
export interface TryTimeoutSpec {
  perTry?: string
  overall?: string
}
export interface HedgeSpec {
  delay?: string
  percentile?: number
  maxAttempts?: number
  methods?: string[]
}
export interface ConcurrencyLimitSpec {
  algorithm?: 'aimd' | 'gradient'
  initial?: number
  min?: number
  max?: number
  latency?: string
  tolerance?: number
}
export interface RateLimitSpec {
  requestsPerSecond: number
  burst?: number
  per?: 'app' | 'caller'
}
export interface EjectionSpec {
  consecutiveFailures?: number
  baseTime?: string
  maxTime?: string
  maxEjectedPercent?: number
}
export interface FaultSpec {
  delay?: { percent: number; duration: string }
  error?: { percent: number; httpStatus?: number; grpcStatus?: number }
  abort?: { percent: number }
}

/** Names of policies that stand around one target. */
export type TrafficNames = { [field in keyof typeof TRAFFIC_POLICIES]?: string }

export interface TrafficPolicySpec {
  policies: {
    retryBudgets?: Record<string, RetryBudgetSpec>
    timeouts?: Record<string, TryTimeoutSpec>
    hedges?: Record<string, HedgeSpec>
    concurrencyLimits?: Record<string, ConcurrencyLimitSpec>
    rateLimits?: Record<string, RateLimitSpec>
    ejections?: Record<string, EjectionSpec>
    faults?: Record<string, FaultSpec>
  }
  targets: {
    apps?: Record<string, TrafficNames>
    inbound?: Pick<TrafficNames, 'rateLimit' | 'concurrencyLimit' | 'fault'>
  }
}

/** A target that names a policy which is not there: where, and what is wrong. */
export function unknownReference({ policies, targets }: TrafficPolicySpec): { path: string[]; message: string } | undefined {
  const rows: [string[], TrafficNames][] = Object.entries(targets.apps ?? {}).map(([app, row]) => [['spec', 'targets', 'apps', app], row])
  if (targets.inbound) rows.push([['spec', 'targets', 'inbound'], targets.inbound])
  for (const [path, row] of rows) {
    for (const [field, name] of Object.entries(row)) {
      const group = TRAFFIC_POLICIES[field as keyof TrafficNames]
      const known = Object.keys(policies[group] ?? {})
      if (known.includes(name)) continue
      const has = known.length > 0 ? `has ${known.join(', ')}` : 'has none'
      return { path: [...path, field], message: `${[...path, field].join('.')} names "${name}", but spec.policies.${group} ${has}` }
    }
  }
  return undefined
}

import { LATENCY_BUCKETS } from './buckets.ts'
import { ComponentMetrics } from './component-metrics.ts'
import { ForwardMetrics } from './forward-metrics.ts'
import { GrpcSideMetrics } from './grpc-metrics.ts'
import { HttpMetrics } from './http-metrics.ts'
import { LabelRules } from './label-rules.ts'
import { Counter } from './labelled.ts'
import { ResiliencyMetrics } from './resiliency-metrics.ts'
import { RuntimeMetrics } from './runtime-metrics.ts'
import { TrafficMetrics } from './traffic-metrics.ts'

export interface MetricsOptions {
  appId: string
  /** NAMESPACE as it is. */
  namespace: string
  http: { increasedCardinality: boolean; pathMatching: readonly string[]; excludeVerbs: boolean }
  /** Upper bounds in milliseconds; default: Dapr's. */
  latencyDistributionBuckets?: readonly number[] | undefined
  rules: Parameters<typeof LabelRules.from>[0]
}

/** What one sidecar counts. */
export class Metrics {
  readonly errorCodes: Counter
  readonly resiliency = new ResiliencyMetrics()
  readonly traffic = new TrafficMetrics()
  readonly forwarding = new ForwardMetrics()
  readonly http: HttpMetrics
  /** The gRPC API. */
  readonly grpcServer: GrpcSideMetrics
  /** Calls to a gRPC app and, at the called side, proxied ones. */
  readonly grpcClient: GrpcSideMetrics
  readonly components: ComponentMetrics
  readonly runtime: RuntimeMetrics
  /** Further families, written at each scrape by whoever keeps them. */
  readonly more: (() => string)[] = []

  /** Throws when a rule's expression is not valid. */
  constructor(options: MetricsOptions) {
    const { appId, namespace } = options
    const rules = LabelRules.from(options.rules)
    const latencies = options.latencyDistributionBuckets ?? LATENCY_BUCKETS
    this.errorCodes = new Counter(
      'dapr_error_code_total',
      'The total number of error codes returned to callers, by code and category.',
      ['app_id', 'category', 'error_code'],
      rules,
    )
    this.http = new HttpMetrics({ appId, ...options.http, latencies, rules })
    this.grpcServer = new GrpcSideMetrics('server', appId, latencies, rules)
    this.grpcClient = new GrpcSideMetrics('client', appId, latencies, rules)
    this.components = new ComponentMetrics({ appId, namespace, latencies, rules })
    this.runtime = new RuntimeMetrics(appId, latencies, rules)
  }

  /** The page of the metrics port, a piece at a time: each holds whole lines, and both lines of a family's head. */
  *parts(): Generator<string> {
    const memory = process.memoryUsage.rss()
    const cpu = process.cpuUsage()
    yield* this.components.parts()
    yield* this.errorCodes.parts()
    yield* this.grpcClient.parts()
    yield* this.grpcServer.parts()
    yield* this.http.parts()
    yield* this.resiliency.parts()
    yield* this.runtime.parts()
    yield* this.traffic.parts()
    yield* this.forwarding.parts()
    for (const text of this.more) yield text()
    yield `# HELP process_resident_memory_bytes Resident memory size in bytes.\n# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes ${memory}\n`
    yield `# HELP process_cpu_seconds_total Total user and system CPU time spent in seconds.\n# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total ${(cpu.user + cpu.system) / 1e6}\n`
  }

  /** The whole page. */
  text(): string {
    return [...this.parts()].join('')
  }
}

/** The category that Dapr counts an error code under: by the code, and for general codes by the API group that refused. */
export function errorCategory(code: string, group: string | undefined): string {
  const row = CATEGORIES.find(([prefix]) => code.startsWith(prefix))
  return row?.[1] ?? GROUP_CATEGORIES[group ?? ''] ?? group ?? 'common'
}

const CATEGORIES: readonly (readonly [prefix: string, category: string])[] = [
  ['ERR_STATE', 'state'],
  ['DAPR_STATE', 'state'],
  ['ERR_PUB', 'pubsub'],
  ['DAPR_PUBSUB', 'pubsub'],
  ['ERR_SECRET', 'secret'],
  ['ERR_DIRECT_INVOKE', 'service-invocation'],
  ['ERR_ACTOR', 'actor'],
  ['ERR_LOCK', 'lock'],
  ['ERR_TRY_LOCK', 'lock'],
  ['ERR_UNLOCK', 'lock'],
  ['ERR_CONFIGURATION', 'configuration'],
  ['ERR_CRYPTO', 'crypto'],
  ['ERR_INVOKE_OUTPUT_BINDING', 'binding'],
  ['ERR_HEALTH', 'health'],
  ['ERR_OUTBOUND', 'health'],
  ['ERR_CONVERSATION', 'conversation'],
  ['ERR_API_UNIMPLEMENTED', 'common'],
  ['DAPR_SCHEDULER', 'job'],
]
const GROUP_CATEGORIES: Readonly<Record<string, string>> = {
  publish: 'pubsub',
  secrets: 'secret',
  invoke: 'service-invocation',
  bindings: 'binding',
  actors: 'actor',
  workflows: 'workflow',
  // What is wrong in a lock's request is a matter of any request, in Dapr's order of things.
  lock: 'common',
  unlock: 'common',
}

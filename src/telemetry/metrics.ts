import { Counter } from './labelled.ts'
import { ResiliencyMetrics } from './resiliency-metrics.ts'

/** What one sidecar counts. */
export class Metrics {
  readonly errorCodes = new Counter('dapr_error_code_total', 'The total number of error codes returned to callers, by code and category.', [
    'app_id',
    'category',
    'error_code',
  ])

  readonly resiliency = new ResiliencyMetrics()

  /** Further families, written at each scrape by whoever keeps them. */
  readonly more: (() => string)[] = []

  /** The whole page of the metrics port. */
  text(): string {
    const memory = process.memoryUsage()
    const cpu = process.cpuUsage()
    return [
      this.errorCodes.text(),
      this.resiliency.text(),
      ...this.more.map((text) => text()),
      `# HELP process_resident_memory_bytes Resident memory size in bytes.\n# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes ${memory.rss}\n`,
      `# HELP process_cpu_seconds_total Total user and system CPU time spent in seconds.\n# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total ${(cpu.user + cpu.system) / 1e6}\n`,
    ].join('')
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

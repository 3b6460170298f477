import { Counter, Gauge } from './labelled.ts'

/** One policy at work; see the policy floor. */
interface PolicyEvent {
  name: string
  namespace: string
  target: string
  direction: string
  kind: string
  status: string
}

/** In the order of the alphabet, as Dapr's page has them. */
const LABELS = ['app_id', 'flow_direction', 'name', 'namespace', 'policy', 'status', 'target']
const BREAKER_STATES = ['closed', 'half-open', 'open', 'unknown']

/** What Dapr counts of resiliency policies: policies read, policies around operations, policies that acted, states of breakers. */
export class ResiliencyMetrics {
  readonly #loaded = new Counter('dapr_resiliency_loaded', 'Number of resiliency policies loaded.', ['app_id', 'name', 'namespace'])
  readonly #executed = new Counter('dapr_resiliency_count', 'Operations that a resiliency policy stood around.', LABELS)
  readonly #activated = new Counter('dapr_resiliency_activations_total', 'Times that a resiliency policy acted.', LABELS)
  readonly #states = new Gauge('dapr_resiliency_cb_state', 'State of circuit breakers: 1 for the one that applies.', LABELS)

  /** What one sidecar's policies tell. */
  of(appId: string) {
    const values = (event: PolicyEvent, status: string): string[] => [
      appId,
      event.direction,
      event.name,
      event.namespace,
      event.kind,
      status,
      event.target,
    ]
    return {
      loaded: ({ name, namespace }: { name: string; namespace: string }) => this.#loaded.add(appId, name, namespace),
      executed: (event: PolicyEvent) => {
        this.#executed.add(...values(event, event.status))
        if (event.kind !== 'circuitbreaker') return
        for (const state of BREAKER_STATES) this.#states.set(state === event.status ? 1 : 0, ...values(event, state))
      },
      activated: (event: PolicyEvent) => this.#activated.add(...values(event, event.status)),
    }
  }

  *parts(): Generator<string> {
    for (const metric of [this.#loaded, this.#executed, this.#activated, this.#states]) yield* metric.parts()
  }
}

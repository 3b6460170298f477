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

const LABELS = ['app_id', 'name', 'policy', 'namespace', 'flow_direction', 'target', 'status']
const BREAKER_STATES = ['closed', 'half-open', 'open', 'unknown']

/** What Dapr counts of resiliency policies: policies read, policies around operations, policies that acted, states of breakers. */
export class ResiliencyMetrics {
  readonly #loaded = new Counter('dapr_resiliency_loaded', 'Number of resiliency policies loaded.', ['app_id', 'name', 'namespace'])
  readonly #executed = new Counter('dapr_resiliency_count', 'Operations that a resiliency policy stood around.', LABELS)
  readonly #activated = new Counter('dapr_resiliency_activations_total', 'Times that a resiliency policy acted.', LABELS)
  readonly #states = new Gauge('dapr_resiliency_cb_state', 'State of circuit breakers: 1 for the one that applies.', LABELS)

  /** What one sidecar's policies tell. */
  of(appId: string) {
    const add = (counter: Counter, event: PolicyEvent) =>
      counter.add(appId, event.name, event.kind, event.namespace, event.direction, event.target, event.status)
    return {
      loaded: ({ name, namespace }: { name: string; namespace: string }) => this.#loaded.add(appId, name, namespace),
      executed: (event: PolicyEvent) => {
        add(this.#executed, event)
        if (event.kind !== 'circuitbreaker') return
        const { name, kind, namespace, direction, target } = event
        for (const state of BREAKER_STATES)
          this.#states.set(state === event.status ? 1 : 0, appId, name, kind, namespace, direction, target, state)
      },
      activated: (event: PolicyEvent) => add(this.#activated, event),
    }
  }

  text(): string {
    return this.#loaded.text() + this.#executed.text() + this.#activated.text() + this.#states.text()
  }
}

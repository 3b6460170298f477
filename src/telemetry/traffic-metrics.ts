import { Counter, Gauge } from './labelled.ts'

/** What our own traffic policies count. */
export class TrafficMetrics {
  readonly #acted = new Counter('outrider_traffic_activations_total', 'Times that a traffic policy acted.', [
    'action',
    'app_id',
    'flow_direction',
    'policy',
    'target',
  ])
  readonly #limits = new Gauge('outrider_traffic_concurrency_limit', 'Calls that an adaptive limit lets be under way.', [
    'app_id',
    'flow_direction',
    'target',
  ])

  /** What one sidecar's policies tell. */
  of(appId: string) {
    return {
      acted: (direction: string, target: string, policy: string, action: string) =>
        this.#acted.add(action, appId, direction, policy, target),
      limit: (direction: string, target: string, limit: number) => this.#limits.set(limit, appId, direction, target),
    }
  }

  *parts(): Generator<string> {
    yield* this.#acted.parts()
    yield* this.#limits.parts()
  }
}

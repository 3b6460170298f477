import type { PolicyObserver } from '../policy/resiliency.ts'
import type { TrafficObserver } from '../policy/traffic/traffic.ts'
import type { Tracer } from '../telemetry/tracing/tracer.ts'

/** Notes each activation of a resiliency policy in the span of the request that met it. `tracer` undefined: nobody traces. */
export function withPolicyEvents(observer: PolicyObserver, tracer: () => Tracer | undefined): PolicyObserver {
  return {
    ...observer,
    activated(event) {
      observer.activated(event)
      const { name, target, direction, kind, status } = event
      tracer()?.current.span?.note(`resiliency.${kind}`, {
        'resiliency.name': name,
        'resiliency.target': target,
        'resiliency.flow_direction': direction,
        ...(status !== '' && { 'resiliency.status': status }),
      })
    },
  }
}

/** The same for our own traffic policies. */
export function withTrafficEvents(observer: TrafficObserver, tracer: () => Tracer | undefined): TrafficObserver {
  return {
    limit: (...given) => observer.limit(...given),
    acted(direction, target, policy, action) {
      observer.acted(direction, target, policy, action)
      tracer()?.current.span?.note(`traffic.${policy}`, {
        'traffic.target': target,
        'traffic.flow_direction': direction,
        'traffic.action': action,
      })
    },
  }
}

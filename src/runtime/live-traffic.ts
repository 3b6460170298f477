import type { PeerServerOptions } from '../peers/server.ts'
import type { CallPolicies } from '../policy/resiliency.ts'
import type { InboundPolicies } from '../policy/traffic/inbound.ts'
import type { Traffic, TrafficObserver } from '../policy/traffic/traffic.ts'
import type { TrafficPolicyResource } from '../resources/kinds.ts'
import type { LiveResiliency } from './live-resiliency.ts'

/** Our own policies as they are now: those of a reload count for every call that begins then. What no resource asks for is not even loaded. */
export class LiveTraffic {
  readonly #resiliency: LiveResiliency
  readonly #observer: TrafficObserver
  #traffic: Traffic | undefined
  /** The policies around calls to other apps; undefined: none of our own. */
  calls: CallPolicies | undefined
  /** Those around calls of others to the app, for what is proxied. */
  inbound: InboundPolicies | undefined
  /** The same for invocations. */
  app: PeerServerOptions['inbound']

  constructor(resiliency: LiveResiliency, observer: TrafficObserver) {
    this.#resiliency = resiliency
    this.#observer = observer
  }

  /** Rejects when the policies make no sense. */
  async check(resource: TrafficPolicyResource): Promise<void> {
    const { Traffic } = await import('../policy/traffic/traffic.ts')
    new Traffic([resource]).makeAll()
  }

  /** Takes these in place of those before; targets whose policies are as they were keep what they have learned. */
  async replace(resources: readonly TrafficPolicyResource[]): Promise<void> {
    if (resources.length === 0 && !this.#traffic) return
    const { Traffic } = await import('../policy/traffic/traffic.ts')
    const traffic = new Traffic(resources, this.#observer, this.#traffic)
    const own = traffic.inbound()
    const calls = traffic.coversApps
      ? (await import('../policy/traffic/outbound.ts')).outboundPolicies(this.#resiliency, traffic)
      : undefined
    const inbound = own && (await import('../policy/traffic/inbound.ts')).inboundPolicies(own)
    const { appUnderPolicy } = await import('../blocks/invoke/inbound.ts')
    this.#traffic = traffic
    this.calls = calls
    this.inbound = inbound
    this.app = inbound && appUnderPolicy(inbound)
  }
}

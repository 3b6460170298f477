import { type Runner, stack } from '../runner.ts'
import { concurrencyLayer, rateLayer } from './layers.ts'
import type { TargetTraffic } from './traffic.ts'

/** The policies around one call of another sidecar. `caller`: its SPIFFE id or, without mTLS, the app id that it tells. */
export type InboundPolicies = (caller: string) => Runner

/** The layers of a call from another sidecar to the app beside us, top to bottom. */
export function inboundPolicies(traffic: TargetTraffic): InboundPolicies {
  // State is the target's: one limit for all calls.
  const limit = concurrencyLayer(traffic, 'the app')
  return (caller) =>
    stack([
      // Above all of these access control has decided (peers/server.ts): who may not call learns nothing of limits.
      // The rate limit first: one caller in excess takes no place from others.
      rateLayer(traffic, 'the app', caller),
      // The concurrency limit: what the app has under way.
      limit,
      // Faults lowest: they stand for the app, and the limits above see them as its doing.
      traffic.fault,
    ]) ?? ((operation, signal) => operation(signal))
}

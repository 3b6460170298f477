import type { Runner } from '../../policy/runner.ts'

export type { Runner }

/** Resiliency of pub/sub components, by component name; undefined: none configured. */
export interface PubSubPolicies {
  /** Around publishing to the broker. */
  outbound(pubsubName: string): Runner | undefined
  /** Around delivering to the app. Errors are DeliveryErrors, `status` set where a policy may match on it. */
  inbound(pubsubName: string): Runner | undefined
}

/** How hard to try: runs an operation once or more, each attempt with its own signal. Rejects with the last error. */
export type Runner = <T>(operation: (signal: AbortSignal | undefined) => Promise<T>, signal?: AbortSignal) => Promise<T>

/** Resiliency of pub/sub components, by component name; undefined: none configured. */
export interface PubSubPolicies {
  /** Around publishing to the broker. */
  outbound(pubsubName: string): Runner | undefined
  /** Around delivering to the app. Errors are DeliveryErrors, `status` set where a policy may match on it. */
  inbound(pubsubName: string): Runner | undefined
}

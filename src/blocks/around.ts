/**
 * What stands around one call to a component: timeouts, retries, breakers, metrics. `operation` as Dapr's metrics name it, e.g. `bulk_get`. The runtime gives the real one;
 * `work` may run several times and must honour the signal it is given.
 */
export type Around = <T>(
  component: string,
  operation: string,
  work: (signal: AbortSignal | undefined) => Promise<T>,
  signal: AbortSignal | undefined,
) => Promise<T>

/** One attempt, nothing around it. */
export const once: Around = (_component, _operation, work, signal) => work(signal)

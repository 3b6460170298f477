import type { MetadataField } from '../metadata.ts'

/** Ours, of drivers whose brokers do not say it. */
export const drainTimeoutField: MetadataField = {
  name: 'drainTimeout',
  kind: 'duration',
  unit: 1,
  default: '5s',
  min: 0,
  description: 'How long running handlers may take to finish when a subscription ends. Ours, not in Dapr.',
}

/** Ours, where a broker counts the wait in seconds. */
export const secondsToRedeliverField: MetadataField = {
  name: 'redeliverInterval',
  kind: 'duration',
  unit: 1,
  default: '10s',
  min: 0,
  description:
    'Longest wait before a message that was not handled comes again, in whole seconds; waits grow from 1 s. A bare number is milliseconds. Ours, not in Dapr.',
}

import type { MetadataField, MetadataValues } from '../metadata.ts'

/** Milliseconds before try number `attempt + 1`, where `attempt` counts from 1; undefined: no more tries. */
export type Retry = (attempt: number) => number | undefined

/** Dapr's backOff* family; bare numbers in durations are seconds. */
export const backoffFields: readonly MetadataField[] = [
  {
    name: 'backOffPolicy',
    kind: 'enum',
    values: ['constant', 'exponential'],
    description: 'How the waits between tries of a message grow. Default: doubling from consumeRetryInterval to backOffDuration.',
  },
  { name: 'backOffDuration', kind: 'duration', default: '5s', min: 0, description: 'Wait between tries, policy constant.' },
  { name: 'backOffInitialInterval', kind: 'duration', default: '500ms', min: 0, description: 'First wait, policy exponential.' },
  { name: 'backOffMaxInterval', kind: 'duration', default: '60s', min: 0, description: 'Longest wait, policy exponential.' },
  { name: 'backOffMultiplier', kind: 'number', default: '1.5', min: 1, description: 'Growth of the wait, policy exponential.' },
  {
    name: 'backOffRandomizationFactor',
    kind: 'number',
    default: '0.5',
    min: 0,
    max: 1,
    description: 'Part of the wait that is random, policy exponential.',
  },
  {
    name: 'backOffMaxRetries',
    kind: 'int',
    default: '-1',
    description: 'Tries after the first; then the message is passed over. Negative: as long as it takes.',
  },
]

/** The retry of a message as the fields say; `first` is the first wait when no policy is given. */
export function retryOf(values: MetadataValues, first: number): Retry {
  const most = values.backOffMaxRetries as number
  const wait = waits(values, first)
  return (attempt) => (most >= 0 && attempt > most ? undefined : wait(attempt))
}

function waits(values: MetadataValues, first: number): (attempt: number) => number {
  const constant = values.backOffDuration as number
  if (values.backOffPolicy === 'constant') return () => constant
  if (values.backOffPolicy === undefined) return (attempt) => Math.min(constant, first * 2 ** Math.min(attempt - 1, 20))
  const initial = values.backOffInitialInterval as number
  const longest = values.backOffMaxInterval as number
  const factor = values.backOffRandomizationFactor as number
  return (attempt) => {
    const middle = Math.min(longest, initial * (values.backOffMultiplier as number) ** Math.min(attempt - 1, 100))
    return Math.round(middle * (1 + factor * (Math.random() * 2 - 1)))
  }
}

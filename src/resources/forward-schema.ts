import { parseDuration } from '../components/metadata.ts'
import { parseQuantity } from '../quantity.ts'
import type { Schema } from './json-schema.ts'

const DURATION = '^(\\d+(\\.\\d+)?(ns|us|µs|ms|s|m|h))+$'
/** Below this not even a few events fit. */
const LEAST_BYTES = 1024
/** Who forwards shows between two events that it lives; see LEASE_TIMEOUT of the store. */
const MOST_TIMEOUT = 20_000

/** spec of a StoreAndForward. */
export const storeAndForwardSpec: Schema = {
  type: 'object',
  properties: {
    pubsubs: {
      type: 'array',
      items: { type: 'string', minLength: 1 },
      minItems: 1,
      maxItems: 1000,
      description: 'Names of the pub/sub components whose publishes are kept while their broker cannot be reached.',
    },
    maxBytes: {
      'x-text': true,
      description: 'Most bytes of events that may wait, for each component; a quantity as 64Mi. Default 64Mi.',
    },
    maxAge: {
      type: 'string',
      pattern: DURATION,
      description: 'How long an event may wait; an older one is given up, counted and logged. As 30m or 24h. Default 24h.',
    },
    timeout: {
      type: 'string',
      pattern: DURATION,
      description:
        'How long the broker may take to answer before it counts as one that cannot be reached; above the limit that the component has itself, which tells why. As 500ms or 5s, at most 20s. Default 8s.',
    },
    whenFull: {
      type: 'string',
      enum: ['refuse'],
      description:
        'What happens to an event that finds no room: refuse answers 503 (Unavailable) with ERR_PUBSUB_STORE_FULL. Default refuse.',
    },
    synchronous: {
      type: 'string',
      enum: ['normal', 'full'],
      description:
        'normal survives the end of any process; full also survives a power cut, at the price of a disk flush per commit. Default normal.',
    },
  },
  additionalProperties: false,
  required: ['pubsubs'],
}

/** As written. */
export interface StoreAndForwardText {
  pubsubs: string[]
  maxBytes?: string
  maxAge?: string
  timeout?: string
  whenFull?: 'refuse'
  synchronous?: 'normal' | 'full'
}

export interface StoreAndForwardSpec {
  pubsubs: readonly string[]
  maxBytes: number
  /** Milliseconds. */
  maxAge: number
  /** Milliseconds. */
  timeout: number
  synchronous: 'normal' | 'full'
}

/** The settings with their defaults, or which field is impossible and why. */
export function readStoreAndForward(text: StoreAndForwardText): StoreAndForwardSpec | { path: string[]; message: string } {
  const { pubsubs, synchronous = 'normal' } = text
  const wrong = (field: string, message: string) => ({ path: ['spec', field], message: `spec.${field} ${message}` })
  const maxBytes = parseQuantity(text.maxBytes ?? '64Mi')
  if (maxBytes === undefined) return wrong('maxBytes', `must be a quantity such as 64Mi, not "${text.maxBytes}"`)
  if (maxBytes < LEAST_BYTES || !Number.isSafeInteger(maxBytes)) return wrong('maxBytes', `must be from 1Ki to 8Pi, not ${text.maxBytes}`)
  const maxAge = parseDuration(text.maxAge ?? '24h') as number
  if (!(maxAge >= 1)) return wrong('maxAge', `must be at least 1ms, not ${text.maxAge}`)
  const timeout = parseDuration(text.timeout ?? '8s') as number
  if (!(timeout >= 1 && timeout <= MOST_TIMEOUT)) return wrong('timeout', `must be from 1ms to 20s, not ${text.timeout}`)
  const twice = pubsubs.find((name, index) => pubsubs.indexOf(name) !== index)
  if (twice !== undefined) return wrong('pubsubs', `names "${twice}" twice`)
  return { pubsubs, maxBytes, maxAge, timeout, synchronous }
}

import type { Failure } from '../cluster/attempt.ts'
import type { RetryPolicy } from '../model/route.ts'
import { fieldOf } from './fields.ts'

/** Names of gRPC's codes that a policy may name. */
const GRPC_CODES: Readonly<Record<string, string>> = {
  '1': 'cancelled',
  '4': 'deadline-exceeded',
  '8': 'resource-exhausted',
  '13': 'internal',
  '14': 'unavailable',
}
/** What was sent of these, if only in part, does no harm a second time. */
const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'])

/** Whether a reply is reason to ask again. */
export function retriesReply(policy: RetryPolicy, status: number, fields: readonly string[], method: string): boolean {
  const { on, statusCodes } = policy
  if (policy.idempotentOnly && !IDEMPOTENT.has(method)) return false
  for (const word of on) {
    if (word === '5xx') {
      if (status >= 500) return true
    } else if (word === 'gateway-error') {
      if (status >= 502 && status <= 504) return true
    } else if (word === 'retriable-4xx') {
      if (status === 409) return true
    } else if (word === 'retriable-status-codes') {
      if (statusCodes.includes(status)) return true
    } else if (word === 'envoy-ratelimited') {
      if (fieldOf(fields, 'x-envoy-ratelimited') !== undefined) return true
    } else if (word === GRPC_CODES[fieldOf(fields, 'grpc-status') ?? '']) return true
  }
  return false
}

/** Whether a failure without a reply is reason to ask again. Too many waiting here is none: more would not help. */
export function retriesFailure(policy: RetryPolicy, failure: Failure | 'timeout', method: string): boolean {
  if (failure === 'overflow' || failure === 'invalid') return false
  const { on } = policy
  const unsent = failure === 'connect' || failure === 'refused'
  if (policy.idempotentOnly && !unsent && !IDEMPOTENT.has(method)) return false
  if (on.includes('5xx') || on.includes('gateway-error') || on.includes('reset')) return true
  if (failure === 'connect') return on.includes('connect-failure') || on.includes('reset-before-request')
  if (failure === 'refused') return on.includes('refused-stream') || on.includes('reset-before-request')
  return false
}

/** Milliseconds before the attempt of this number, from 1: at random below a figure that grows twofold. */
export function backoff({ backoff: { base, max } }: RetryPolicy, attempt: number): number {
  return Math.random() * Math.min(max, base * (2 ** attempt - 1))
}

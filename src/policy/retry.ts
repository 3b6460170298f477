import { parseDuration } from '../components/metadata.ts'

/** When to try again, and how long to wait before. */
export interface RetryPolicy {
  readonly kind: 'constant' | 'exponential'
  /** Milliseconds between attempts (constant). */
  readonly duration: number
  /** Longest wait in milliseconds (exponential). */
  readonly maxInterval: number
  /** Attempts after the first; negative: no limit. */
  readonly maxRetries: number
  readonly http: CodeRanges | undefined
  readonly grpc: CodeRanges | undefined
}

/** Inclusive; none: no code matches. Where undefined stands instead, every code does. */
export type CodeRanges = readonly (readonly [from: number, to: number])[]

export interface RetryText {
  policy?: string
  duration?: string
  maxInterval?: string
  maxRetries?: number
  matching?: { httpStatusCodes?: string; gRPCStatusCodes?: string }
}

const FIRST_INTERVAL = 500
const MULTIPLIER = 1.5
const RANDOMISATION = 0.5
/** An exponential policy gives up after this many milliseconds, whatever its maxRetries. */
export const MAX_ELAPSED = 15 * 60_000

/** A duration of a policy in milliseconds: bare numbers are milliseconds. Throws naming what it is for. */
export function policyDuration(text: string | undefined, fallback: number, what: string): number {
  if (text === undefined || text === '') return fallback
  const value = parseDuration(String(text), 1)
  if (value === undefined) throw new Error(`${what}: "${text}" is not a duration such as 500ms, 5s or 1h30m`)
  return value
}

/** Throws an Error that names the field. */
export function parseRetry(name: string, text: RetryText): RetryPolicy {
  const kind = (text.policy || 'constant').toLowerCase()
  if (kind !== 'constant' && kind !== 'exponential')
    throw new Error(`retry ${name}: policy "${text.policy}" is neither constant nor exponential`)
  return {
    kind,
    duration: policyDuration(text.duration, 5000, `retry ${name}: duration`),
    maxInterval: policyDuration(text.maxInterval, 60_000, `retry ${name}: maxInterval`),
    maxRetries: text.maxRetries ?? -1,
    http: parseCodes(text.matching?.httpStatusCodes, 100, 599, `retry ${name}: matching.httpStatusCodes`),
    grpc: parseCodes(text.matching?.gRPCStatusCodes, 0, 16, `retry ${name}: matching.gRPCStatusCodes`),
  }
}

/** `429,500-599`: no spaces, empty elements are passed over, an empty text matches all. */
function parseCodes(text: string | undefined, least: number, most: number, what: string): CodeRanges | undefined {
  if (!text) return undefined
  return text
    .split(',')
    .filter((element) => element !== '')
    .map((element) => {
      const match = /^(\d+)(?:-(\d+))?$/.exec(element)
      const from = Number(match?.[1])
      const to = Number(match?.[2] ?? match?.[1])
      if (!match || from < least || to > most || from > to)
        throw new Error(`${what}: "${element}" is no code or range of codes within ${least}-${most}`)
      return [from, to] as const
    })
}

/** Whether a failure with this code may be tried again; undefined: it carries none, as lost connections and timeouts do. */
export function retriesCode(policy: RetryPolicy, code: number | undefined): boolean {
  if (code === undefined) return true
  const ranges = code >= 0 && code <= 16 ? policy.grpc : code >= 100 && code <= 599 ? policy.http : []
  return ranges === undefined || ranges.some(([from, to]) => code >= from && code <= to)
}

/** Milliseconds before the n-th retry, n from 1; undefined: no more. `elapsed`: milliseconds since the first attempt. */
export function waitBefore(policy: RetryPolicy, retry: number, elapsed: number, random: () => number = Math.random): number | undefined {
  if (policy.maxRetries >= 0 && retry > policy.maxRetries) return undefined
  if (policy.kind === 'constant') return policy.duration
  const interval = Math.min(FIRST_INTERVAL * MULTIPLIER ** Math.min(retry - 1, 64), policy.maxInterval)
  const wait = interval * (1 - RANDOMISATION + random() * RANDOMISATION * 2)
  return elapsed + wait > MAX_ELAPSED ? undefined : wait
}

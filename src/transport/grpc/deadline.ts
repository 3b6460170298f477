import type { IncomingHttpHeaders } from 'node:http2'
import { Code } from '../../errors.ts'
import { GrpcStatus } from './status.ts'

/** The most that timers take; three weeks are no deadline. */
const LONGEST = 0x7fffffff
const UNITS: Record<string, number> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 }

/** Milliseconds of a grpc-timeout value (`100m`, `5S`); undefined when it is none. */
export function parseTimeout(text: string): number | undefined {
  const found = /^(\d{1,8})([HMSmun])$/.exec(text)
  return found ? Number(found[1]) * (UNITS[found[2] as string] as number) : undefined
}

/** Milliseconds that the caller gives a call; undefined: any number. */
export function timeoutOf(headers: IncomingHttpHeaders): number | undefined {
  const timeout = headers['grpc-timeout']
  return typeof timeout === 'string' ? parseTimeout(timeout) : undefined
}

/** Tells when a call's time is over, with what it ends with. */
export function startDeadline(milliseconds: number, late: (status: GrpcStatus) => void): NodeJS.Timeout {
  return setTimeout(() => late(exceeded()), Math.min(milliseconds, LONGEST))
}

export function exceeded(): GrpcStatus {
  return new GrpcStatus(Code.DeadlineExceeded, 'context deadline exceeded')
}

/** What is wrong with a grpc-timeout value that `parseTimeout` does not take, in grpc-go's words. */
export function timeoutFault(text: string): string {
  if (text.length < 2) return `transport: timeout string is too short: ${JSON.stringify(text)}`
  if (text.length > 9) return `transport: timeout string is too long: ${JSON.stringify(text)}`
  if (UNITS[text.slice(-1)] === undefined) return `transport: timeout unit is not recognized: ${JSON.stringify(text)}`
  return `strconv.ParseUint: parsing ${JSON.stringify(text.slice(0, -1))}: invalid syntax`
}

/** grpc-timeout of some milliseconds, at most eight digits. */
export function formatTimeout(milliseconds: number): string {
  const whole = Math.max(1, Math.ceil(milliseconds))
  return whole < 1e8 ? `${whole}m` : `${Math.min(99_999_999, Math.ceil(whole / 1000))}S`
}

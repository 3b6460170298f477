import { Code, OutriderError } from '../../errors.ts'

/** A call that a rate limit refuses. `wait`: milliseconds until one would pass. */
export function rateLimited(what: string, perSecond: number, wait: number): OutriderError {
  return new OutriderError({
    code: 'ERR_RATE_LIMITED',
    http: 429,
    grpc: Code.ResourceExhausted,
    message: `rate limit of ${what} reached: ${perSecond} requests a second`,
    hint: `try again in ${Math.max(1, wait)} ms, or raise requestsPerSecond of the TrafficPolicy`,
    retryable: true,
  })
}

/** A call for which an adaptive limit has no place. */
export function overloaded(what: string, limit: number): OutriderError {
  return new OutriderError({
    code: 'ERR_OVERLOADED',
    http: 429,
    grpc: Code.ResourceExhausted,
    message: `${what} has ${limit} calls under way, as many as it takes well`,
    hint: 'try again a little later: the limit of the TrafficPolicy follows how fast the calls are answered',
    retryable: true,
  })
}

import { messageOf } from '../errors.ts'
import { formatGoDuration } from '../go-duration.ts'
import type { Logger } from '../telemetry/log.ts'
import { BreakerOpenError, type BreakerState, type CircuitBreaker } from './circuit-breaker.ts'
import { type RetryPolicy, retriesCode, waitBefore } from './retry.ts'

/** How hard to try: runs an operation once or more, each attempt with its own signal. Rejects with the last error. */
export type Runner = <T>(operation: (signal: AbortSignal | undefined) => Promise<T>, signal?: AbortSignal) => Promise<T>

export type PolicyKind = 'retry' | 'timeout' | 'circuitbreaker'

/** Hears of the policies at work. `status` is the state of a breaker, empty for the others. */
export type OnPolicy = (kind: PolicyKind, status: BreakerState | '') => void

export interface RunnerOptions {
  /** As logs name it, e.g. `component[store] output`. */
  name: string
  retry?: RetryPolicy | undefined
  breaker?: CircuitBreaker | undefined
  /** Milliseconds of one attempt. */
  timeout?: number | undefined
  /** Asked before each retry; false: the budget is used up. */
  mayRetry?: (() => boolean) | undefined
  log: Logger
  /** A policy stands around an operation that begins. */
  onExecution?: OnPolicy | undefined
  /** A policy did something: the first retry of an operation, its first timeout, a change of the breaker's state. */
  onActivation?: OnPolicy | undefined
  random?: (() => number) | undefined
}

/** Runners around each other, the first outermost. Undefined when there is none. */
export function stack(runners: readonly (Runner | undefined)[]): Runner | undefined {
  const [first, ...rest] = runners.filter((runner) => runner !== undefined)
  if (!first) return undefined
  const inner = stack(rest)
  return inner ? (operation, signal) => first((inside) => inner(operation, inside), signal) : first
}

/** An error that trying again cannot cure; anything with `permanent: true` is one. */
export function isPermanent(error: unknown): boolean {
  return error instanceof BreakerOpenError || (error as { permanent?: unknown } | undefined)?.permanent === true
}

/** The HTTP status or gRPC code that matching rules look at. */
function codeOf(error: unknown): number | undefined {
  const { status, code } = (error ?? {}) as { status?: unknown; code?: unknown }
  if (typeof status === 'number') return status
  return typeof code === 'number' ? code : undefined
}

/**
 * The layers, from the outside in: retry, as only it may call again; breaker, which so sees each attempt; timeout, which
 * bounds one attempt. Undefined when there is none of them: nothing configured costs nothing.
 */
export function createRunner(options: RunnerOptions): Runner | undefined {
  const { retry, breaker, timeout, log, name } = options
  if (!retry && !breaker && !timeout) return undefined
  const { onExecution } = options
  return async (operation, signal) => {
    if (onExecution) {
      if (timeout) onExecution('timeout', '')
      if (retry) onExecution('retry', '')
      if (breaker) onExecution('circuitbreaker', breaker.state)
    }
    let timedOut = false
    const bounded = timeout
      ? () =>
          withTimeout(operation, timeout, signal, () => {
            if (!timedOut) options.onActivation?.('timeout', '')
            timedOut = true
          })
      : () => operation(signal)
    const guarded = breaker
      ? async () => {
          const before = breaker.state
          try {
            return await breaker.run(bounded)
          } finally {
            const { state } = breaker
            if (state !== before) options.onActivation?.('circuitbreaker', state)
          }
        }
      : bounded
    if (!retry) return guarded()
    const began = performance.now()
    for (let attempt = 1; ; attempt++) {
      try {
        const result = await guarded()
        if (attempt > 1) log.info(`Recovered processing operation ${name} after ${attempt} attempts`)
        return result
      } catch (error) {
        if (signal?.aborted || isPermanent(error) || !retriesCode(retry, codeOf(error))) throw error
        const wait = waitBefore(retry, attempt, performance.now() - began, options.random)
        if (wait === undefined || options.mayRetry?.() === false) throw error
        if (attempt === 1) {
          log.warn(`Error processing operation ${name}. Retrying in ${formatGoDuration(Math.round(wait))}…`)
          options.onActivation?.('retry', '')
        }
        log.debug(`Error for operation ${name} was: ${messageOf(error)}`)
        await pause(wait, signal, error)
      }
    }
  }
}

/** Gives an attempt up when its time is over: its signal is aborted, and whatever it still answers is not waited for. */
export function withTimeout<T>(
  operation: (signal: AbortSignal) => Promise<T>,
  timeout: number,
  signal: AbortSignal | undefined,
  onTimeout: () => void,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const attempt = new AbortController()
    const onAbort = () => attempt.abort(signal?.reason)
    if (signal?.aborted) onAbort()
    else signal?.addEventListener('abort', onAbort, { once: true })
    const timer = setTimeout(() => {
      const late = new Error('context deadline exceeded')
      signal?.removeEventListener('abort', onAbort)
      onTimeout()
      reject(late)
      attempt.abort(late)
    }, timeout)
    const done = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
    }
    operation(attempt.signal).then(
      (result) => {
        done()
        resolve(result)
      },
      (error: unknown) => {
        done()
        reject(error)
      },
    )
  })
}

function pause(milliseconds: number, signal: AbortSignal | undefined, last: unknown): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = () => {
      clearTimeout(timer)
      reject(last)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    }, milliseconds)
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}

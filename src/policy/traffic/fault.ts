import { setTimeout as sleep } from 'node:timers/promises'
import { Code, OutriderError } from '../../errors.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
import type { Runner } from '../runner.ts'

export interface FaultSettings {
  /** Name of the policy, for messages. */
  readonly name: string
  /** Shares are of 1. */
  readonly delay: { share: number; time: number } | undefined
  readonly error: { share: number; http: number; grpc: number } | undefined
  readonly abort: { share: number } | undefined
}

export type FaultAction = 'delay' | 'error' | 'abort'

/** An error reply that a policy made up; retry rules match it by its code, as those of apps. */
class FaultError extends OutriderError {
  readonly status: number

  constructor(name: string, http: number, grpc: number) {
    super({
      code: 'ERR_FAULT_INJECTED',
      http,
      grpc: grpc as Code,
      message: `fault injected by the policy ${name}`,
      hint: 'this is a test: a TrafficPolicy injects faults here; take spec.policies.faults away to end it',
    })
    this.status = http
  }
}

/** Delays requests, fails them, or loses their connection; each by its own chance, in that order. */
export function createFault(settings: FaultSettings, onFault: (action: FaultAction) => void, random: () => number = Math.random): Runner {
  const { delay, error, abort, name } = settings
  const hits = (fault: { share: number } | undefined) => fault !== undefined && random() < fault.share
  return async (operation, signal) => {
    if (delay && hits(delay)) {
      onFault('delay')
      await sleep(delay.time, undefined, { ...(signal && { signal }) }).catch(() => {
        throw signal?.reason
      })
    }
    if (hits(abort)) {
      onFault('abort')
      throw new GrpcStatus(Code.Unavailable, `connection aborted: fault injected by the policy ${name}`)
    }
    if (error && hits(error)) {
      onFault('error')
      throw new FaultError(name, error.http, error.grpc)
    }
    return operation(signal)
  }
}

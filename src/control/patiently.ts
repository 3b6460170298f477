import { setTimeout as delay } from 'node:timers/promises'
import { ClusterError } from '../components/kubernetes/cluster.ts'
import type { Logger } from '../telemetry/log.ts'

const FIRST_WAIT = 200
const LONGEST_WAIT = 10_000

/**
 * What an API server is asked at the start: asked again while it cannot be reached, or fails itself, for it may start after us. Rejects
 * with what it answers otherwise, or with the signal's reason.
 */
export async function patiently<T>(ask: () => Promise<T>, log: Logger, signal: AbortSignal): Promise<T> {
  for (let wait = FIRST_WAIT; ; wait = Math.min(wait * 2, LONGEST_WAIT)) {
    try {
      return await ask()
    } catch (error) {
      signal.throwIfAborted()
      const away = error instanceof ClusterError ? error.status >= 500 || error.status === 429 : isUnreachable(error)
      if (!away) throw error
      if (wait === FIRST_WAIT) log.warn(`${(error as Error).message}; waiting for it`)
      await delay(wait, undefined, { signal })
    }
  }
}

/** As the client of the API says it. */
function isUnreachable(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith('cannot reach Kubernetes')
}

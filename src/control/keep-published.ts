import { setTimeout as delay } from 'node:timers/promises'
import type { WorkloadIdentity } from '../transport/identity/workload-identity.ts'

/** Whoever replaces the object, an upgrade say, takes our certificates out of it: it is looked at again after so long. */
const EVERY = 60_000
const LONGEST_WAIT = 30_000

export interface PublishedOptions {
  identity: WorkloadIdentity
  /** Tells the API server by which certificates it knows us. */
  publish(trustAnchors: string): Promise<void>
  onPublished?(): void
  /** `times`: how often in a row. */
  onFailure(error: unknown, times: number): void
}

/** Publishes our trust anchors now, after each change of them, and now and then, until the signal. Does not reject. */
export async function keepPublished(options: PublishedOptions, signal: AbortSignal): Promise<void> {
  const { identity, publish, onPublished, onFailure } = options
  let failures = 0
  let wake = new AbortController()
  using _following = identity.follow(() => wake.abort())
  while (!signal.aborted) {
    wake = new AbortController()
    try {
      await publish(identity.trustAnchors)
      failures = 0
      onPublished?.()
    } catch (error) {
      if (signal.aborted) return
      onFailure(error, ++failures)
    }
    const wait = failures === 0 ? EVERY : Math.min(LONGEST_WAIT, 500 * 2 ** failures)
    await delay(wait, undefined, { signal: AbortSignal.any([signal, wake.signal]) }).catch(() => {})
  }
}

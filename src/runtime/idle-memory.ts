import { memoryLimit } from '../transport/body-budget.ts'
import { collector } from '../transport/outside-heap.ts'
import { dropFreePieces } from '../transport/pieces.ts'

/** Bytes that the process may have grown by before an idle moment is used to give them back. */
const SLACK = 16 * 1024 * 1024
const PERIOD = 5000
/** Past this share of the memory limit it is given back under load too: the pages of the program itself would make room for it. */
const CLOSE = 0.7

/**
 * Node collects garbage only while it allocates: after a burst of large bodies an idle sidecar would keep their memory.
 * This looks every five seconds, and collects when the process has grown and no request came since the last look, or it is close to its memory limit.
 * `activity` counts requests. Disposing ends it.
 */
export function keepIdleMemoryLow(activity: () => number): Disposable {
  let floor = process.memoryUsage.rss()
  let seen = -1
  const close = (memoryLimit() ?? Number.POSITIVE_INFINITY) * CLOSE
  const timer = setInterval(() => {
    const count = activity()
    const busy = count !== seen
    seen = count
    const rss = process.memoryUsage.rss()
    if (busy && rss < close) return
    // The allocator may give memory back some time after a collection.
    floor = Math.min(floor, rss)
    if (rss < floor + SLACK) return
    dropFreePieces()
    const collect = collector()
    // Twice: buffers are freed by finalizers that the first collection only queues.
    collect()
    collect()
    floor = process.memoryUsage.rss()
  }, PERIOD)
  timer.unref()
  return { [Symbol.dispose]: () => clearInterval(timer) }
}

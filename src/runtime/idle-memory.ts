import { collector } from '../transport/outside-heap.ts'

/** Bytes that the process may have grown by before an idle moment is used to give them back. */
const SLACK = 16 * 1024 * 1024
const PERIOD = 5000

/**
 * Node collects garbage only while it allocates: after a burst of large bodies an idle sidecar would keep their memory.
 * This looks every five seconds, and collects when the process has grown and no request came since the last look.
 * `activity` counts requests. Disposing ends it.
 */
export function keepIdleMemoryLow(activity: () => number): Disposable {
  let floor = process.memoryUsage.rss()
  let seen = -1
  const timer = setInterval(() => {
    const count = activity()
    if (count !== seen) {
      seen = count
      return
    }
    const rss = process.memoryUsage.rss()
    // The allocator may give memory back some time after a collection.
    floor = Math.min(floor, rss)
    if (rss < floor + SLACK) return
    const collect = collector()
    // Twice: buffers are freed by finalizers that the first collection only queues.
    collect()
    collect()
    floor = process.memoryUsage.rss()
  }, PERIOD)
  timer.unref()
  return { [Symbol.dispose]: () => clearInterval(timer) }
}

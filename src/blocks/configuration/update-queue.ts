import type { ConfigurationItem } from './driver.ts'

type Items = Record<string, ConfigurationItem>

/** Updates waiting behind a slow subscriber before they are merged. */
const LIMIT = 100

/** Delivers updates of one subscription one after the other; at its bound newer values replace older ones, the latest is never lost. */
export function createUpdateQueue(
  deliver: (items: Items) => Promise<void>,
  onError: (error: unknown) => void,
): { push(items: Items): void; close(): void } {
  const waiting: Items[] = []
  let running = false
  let closed = false

  const drain = async () => {
    running = true
    for (let items = waiting.shift(); items && !closed; items = waiting.shift()) {
      try {
        await deliver(items)
      } catch (error) {
        onError(error)
      }
    }
    running = false
  }

  return {
    push(items) {
      if (closed) return
      const last = waiting.at(-1)
      if (waiting.length >= LIMIT && last) waiting[waiting.length - 1] = { ...last, ...items }
      else waiting.push(items)
      if (!running) void drain()
    },
    close() {
      closed = true
      waiting.length = 0
    },
  }
}

import { messageOf } from '../../errors.ts'
import type { StateGet, StateItem, StateStore } from './driver.ts'

/** Of a bulk read that names no number. Ten thousand at once would only be ten thousand promises in memory. */
const PARALLEL_GETS = 100

/** Gets key by key, at most `parallelism` at a time; a failing key is an Error in its place. */
export async function eachGet(
  store: StateStore,
  gets: readonly StateGet[],
  parallelism: number | undefined,
  signal: AbortSignal | undefined,
): Promise<(StateItem | Error | undefined)[]> {
  const found: (StateItem | Error | undefined)[] = new Array(gets.length)
  let next = 0
  const worker = async () => {
    while (next < gets.length) {
      const index = next++
      try {
        found[index] = await store.get(gets[index] as StateGet, signal)
      } catch (error) {
        found[index] = error instanceof Error ? error : new Error(messageOf(error))
      }
    }
  }
  const workers = parallelism && parallelism > 0 ? parallelism : PARALLEL_GETS
  await Promise.all(Array.from({ length: Math.min(workers, gets.length) }, worker))
  return found
}

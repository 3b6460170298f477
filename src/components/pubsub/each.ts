import type { BulkEntry } from '../../blocks/pubsub/driver.ts'
import { messageOf } from '../../errors.ts'

/** Publishes the entries of a bulk one by one, at once or in their order, for brokers that take no bulk; gives those that failed. */
export async function publishEach(
  entries: readonly BulkEntry[],
  publish: (entry: BulkEntry) => Promise<void>,
  inOrder = false,
): Promise<{ entryId: string; error: Error }[]> {
  const failed: { entryId: string; error: Error }[] = []
  const one = async (entry: BulkEntry) => {
    try {
      await publish(entry)
    } catch (error) {
      failed.push({ entryId: entry.entryId, error: error instanceof Error ? error : new Error(messageOf(error)) })
    }
  }
  if (inOrder) for (const entry of entries) await one(entry)
  else await Promise.all(entries.map(one))
  return failed
}

import { decompress } from './compression.ts'
import { readBatch, readEntry } from './hot.ts'

/** A message as the broker gave it. */
export interface InMessage {
  payload: Buffer
  properties: Record<string, string>
}

/** What an entry holds: its messages, undefined where compaction took one out; or why it cannot be read here, and how many they are. */
export type Content = { messages: readonly (InMessage | undefined)[] } | { unreadable: string; count: number }

const MOST_PAYLOAD = 128 * 2 ** 20

/** Reads the entry of a MESSAGE frame from behind its command on. Throws when it is damaged. */
export function readContent(frame: Buffer, at: number): Content {
  const { metadata, payload } = readEntry(frame, at)
  const { batch, compression, size, properties } = metadata
  if (metadata.encrypted) return { unreadable: 'it is encrypted', count: batch ?? 1 }
  if (metadata.chunks > 1) return { unreadable: 'it comes in chunks', count: 1 }
  const plain = decompress(compression, payload, size, MOST_PAYLOAD)
  return { messages: batch === undefined ? [{ payload: plain, properties }] : readBatch(plain, batch) }
}

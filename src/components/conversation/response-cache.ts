import { createHash } from 'node:crypto'
import type { ConversationResult } from '../../blocks/conversation/driver.ts'

/** Answers and their bytes kept at most; past either the oldest goes. */
const ENTRIES = 1000
const BYTES = 16 * 1024 * 1024

export interface ResponseCache {
  /** The answer to exactly this question, if it was given less than the lifetime ago; else asks, and keeps what comes. */
  answer(question: string, ask: () => Promise<ConversationResult>): Promise<ConversationResult>
}

/** Answers of one model by their whole question. @param lifetime milliseconds; 0 keeps nothing */
export function createResponseCache(lifetime: number, now: () => number = () => performance.now()): ResponseCache {
  const kept = new Map<string, { result: ConversationResult; until: number; bytes: number }>()
  let bytes = 0
  const drop = (key: string) => {
    bytes -= kept.get(key)?.bytes ?? 0
    kept.delete(key)
  }
  return {
    async answer(question, ask) {
      if (lifetime <= 0) return ask()
      const key = createHash('sha256').update(question).digest('base64')
      const found = kept.get(key)
      if (found && found.until > now()) return found.result
      const result = await ask()
      drop(key)
      const size = Buffer.byteLength(JSON.stringify(result))
      if (size > BYTES) return result
      kept.set(key, { result, until: now() + lifetime, bytes: size })
      bytes += size
      for (const oldest of kept.keys()) {
        if (kept.size <= ENTRIES && bytes <= BYTES) break
        drop(oldest)
      }
      return result
    },
  }
}

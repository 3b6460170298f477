import { createHash, timingSafeEqual } from 'node:crypto'

/** What callers have to bring: one token, or any of those that count at the moment. */
export type ApiTokens = string | (() => readonly string[])

/** Compares what a caller brought, in the same time whatever it is. Undefined when no token is asked for. */
export function tokenMatcher(tokens: ApiTokens | undefined): ((given: unknown) => boolean) | undefined {
  if (!tokens) return undefined
  let known: readonly string[] = []
  let digests: Buffer[] = []
  return (given) => {
    const now = typeof tokens === 'string' ? known : tokens()
    if (digests.length === 0 || now !== known) {
      known = now
      digests = (typeof tokens === 'string' ? [tokens] : now).map(digest)
    }
    const brought = digest(typeof given === 'string' ? given : '')
    let same = false
    // All are looked at: how long it takes says nothing about which one it was.
    for (const one of digests) same = timingSafeEqual(one, brought) || same
    return same && typeof given === 'string'
  }
}

/** Equal lengths for the comparison. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

/**
 * The partition of a message: by its key as daprd chooses it (FNV-1a, so that both sides put a key into the same
 * partition), without a key at random.
 */
export function partitionOf(key: Buffer | null, count: number): number {
  if (key === null) return Math.floor(Math.random() * count)
  let hash = 0x811c9dc5
  for (const byte of key) hash = Math.imul(hash ^ byte, 0x01000193)
  return Math.abs((hash | 0) % count)
}

import { MetadataError } from '../metadata.ts'

/** Messages that a subscription handles at once, by the field `concurrencyMode`; `parallel` is what that word means there. Throws MetadataError. */
export function handlersOf<T>(mode: string, parallel: T): number | T {
  if (mode === 'parallel') return parallel
  if (mode === 'single') return 1
  const count = Number(mode)
  if (Number.isInteger(count) && count >= 1 && count <= 10_000) return count
  throw new MetadataError(`invalid concurrencyMode ${mode}; expected parallel, single or a number of handlers`)
}

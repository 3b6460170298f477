import { parseDuration } from './metadata.ts'

type Given = Readonly<Record<string, string>>

/** Milliseconds of `ttl` or `ttlInSeconds` (a duration, or whole seconds above zero); undefined when absent; throws what is wrong. */
export function ttlOf(given: Given): number | undefined {
  const text = lookup(given, 'ttl') ?? lookup(given, 'ttlInSeconds')
  if (text === undefined) return undefined
  if (/^[+-]?\d+$/.test(text)) {
    const seconds = Number(text)
    // Go reads a bare 0 as a duration.
    if (seconds === 0) return 0
    if (seconds < 0) throw new Error(`ttl value must be higher than zero: actual is '${text}'`)
    return seconds * 1000
  }
  const milliseconds = /[a-zµμ]/.test(text) ? parseDuration(text) : undefined
  if (milliseconds === undefined) throw new Error(`ttl value must be a valid integer: actual is '${text}'`)
  return Math.max(0, Math.trunc(milliseconds))
}

function lookup(given: Given, name: string): string | undefined {
  if (given[name]) return given[name]
  const lower = name.toLowerCase()
  for (const one in given) if (one.length === lower.length && one.toLowerCase() === lower && given[one]) return given[one]
  return undefined
}

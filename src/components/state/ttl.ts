/** Largest number of seconds a store is asked to wait (Go's MaxInt32). */
const LONGEST = 2_147_483_647

/**
 * `ttlInSeconds` of a request: undefined when absent, else a whole number of seconds ≥ -1 where 0 and -1 mean "never".
 * Throws an Error that begins with `prefix`.
 */
export function readTtl(metadata: Readonly<Record<string, string>>, prefix: string): number | undefined {
  const text = metadata.ttlInSeconds ?? Object.entries(metadata).find(([name]) => name.toLowerCase() === 'ttlinseconds')?.[1]
  if (text === undefined || text === '') return undefined
  if (!/^[+-]?\d+$/.test(text)) throw new Error(`${prefix}strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`)
  const seconds = Number(text)
  if (seconds < -1 || seconds > LONGEST) throw new Error(`${prefix}${seconds} is not between -1 and ${LONGEST}`)
  return seconds
}

/** RFC 3339 in whole seconds, as `ttlExpireTime` is given. */
export function rfc3339(milliseconds: number): string {
  return new Date(milliseconds).toISOString().replace(/\.\d{3}Z$/, 'Z')
}

import type { SourceSpec } from '../../resources/config-server-schema.ts'
import type { RoleContext } from '../role.ts'

/** One value; the first part of the path is the service, none of them is empty. */
export interface Entry {
  path: readonly string[]
  value: unknown
}

/** Where configuration comes from. */
export interface Source extends AsyncDisposable {
  /** For messages: `Consul at http://…`. */
  readonly what: string
  /** Everything there is. Rejects when it cannot be had. */
  read(signal: AbortSignal): Promise<readonly Entry[]>
  /** Resolves when it is worth reading again, or with the signal. */
  wait(signal: AbortSignal): Promise<void>
}

export type OpenSource = (spec: SourceSpec, context: RoleContext) => Promise<Source> | Source

/** Entries, and bytes of their values, of one source. */
export const MOST_ENTRIES = 50_000
export const MOST_BYTES = 32 << 20

/** Makes entries of keys and texts; throws when they are more than a source may have. */
export function entriesOf(
  pairs: Iterable<readonly [key: string, text: string]>,
  { service, separator = '/', values = 'json' }: Pick<SourceSpec, 'service' | 'separator' | 'values'>,
): Entry[] {
  const entries: Entry[] = []
  let bytes = 0
  for (const [key, text] of pairs) {
    const parts = key.split(separator, 64).filter((part) => part !== '')
    const path = service === undefined ? parts : [service, ...parts]
    if (path.length === 0) continue
    bytes += key.length + text.length
    if (entries.length >= MOST_ENTRIES) throw new Error(`has more than ${MOST_ENTRIES} keys: name a longer prefix`)
    if (bytes > MOST_BYTES) throw new Error(`has more than ${MOST_BYTES} bytes: name a longer prefix`)
    entries.push({ path, value: values === 'text' ? text : meant(text) })
  }
  return entries
}

/** Text that is JSON as what it says, but for JSON's own strings without quotes: those are text. */
function meant(text: string): unknown {
  if (!/^\s*([{["-]|\d|true\s*$|false\s*$|null\s*$)/.test(text)) return text
  try {
    const value: unknown = JSON.parse(text)
    // Long numbers are names, telephone numbers, ids: JSON would change them.
    return typeof value === 'number' && String(value) !== text.trim() ? text : value
  } catch {
    return text
  }
}

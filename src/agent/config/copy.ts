import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Entry } from './source.ts'

export interface Copy {
  /** Epoch milliseconds at which it was read from the source. */
  at: number
  entries: readonly Entry[]
}

/** Keeps what a source gave last, readable by its owner alone. */
export function keepCopy(folder: string, name: string, copy: Copy): void {
  const path = join(folder, `${name}.json`)
  writeFileSync(`${path}.new`, JSON.stringify(copy), { mode: 0o600 })
  renameSync(`${path}.new`, path)
}

/** What was kept; undefined when there is nothing, or nothing that can be read. */
export function readCopy(folder: string, name: string): Copy | undefined {
  try {
    return copyOf(JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8')))
  } catch {
    return undefined
  }
}

function copyOf(value: unknown): Copy | undefined {
  const { at, entries } = (value ?? {}) as Record<string, unknown>
  if (typeof at !== 'number' || !Array.isArray(entries)) return undefined
  const whole = entries.every(({ path }: Entry) => Array.isArray(path) && path.length > 0 && path.every((part) => typeof part === 'string'))
  return whole ? { at, entries: entries as Entry[] } : undefined
}

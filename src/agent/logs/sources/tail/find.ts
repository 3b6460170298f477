import type { Stats } from 'node:fs'
import { glob, readdir, stat } from 'node:fs/promises'
import { basename, dirname, join, matchesGlob } from 'node:path'
import { bornAt, type Place } from './place.ts'

export interface Found {
  path: string
  /** The name it had when it was followed, when that is another one. */
  was?: string
  stats: Stats
}

/** Files that patterns name at this moment, those written to longest ago first. */
export async function findFiles(patterns: readonly string[], exclude: readonly string[]): Promise<Found[]> {
  const paths = new Set<string>()
  for (const pattern of patterns) {
    if (!isPattern(pattern)) paths.add(pattern)
    else for await (const path of glob(pattern)) paths.add(path)
  }
  const found: Found[] = []
  for (const path of paths) {
    if (exclude.some((pattern) => matchesGlob(path, pattern))) continue
    const stats = await stat(path).catch(() => undefined)
    if (stats?.isFile()) found.push({ path, stats })
  }
  return found.sort((one, other) => one.stats.mtimeMs - other.stats.mtimeMs)
}

export function isPattern(path: string): boolean {
  return /[*?[{]/.test(path)
}

/** The folder of a pattern above its first part that is one. */
export function folderOf(pattern: string): string {
  let folder = pattern
  do folder = dirname(folder)
  while (isPattern(folder))
  return folder
}

/** What rotation puts behind a name: numbers and dates. */
const ROTATED = /^[.-]\d[\d.T_-]*$/

/**
 * Where files went while nobody looked: those of `places` that are under another name now, and those that were made later and
 * moved aside as well, oldest first. `gone`: their folder is there and they are not.
 */
export async function findMoved(places: Iterable<Place>, known: ReadonlySet<string>): Promise<{ moved: Found[]; gone: Place[] }> {
  const moved = new Map<string, Found>()
  const gone: Place[] = []
  for (const place of places) {
    const folder = dirname(place.path)
    const names = await readdir(folder).catch(() => undefined)
    if (!names) continue
    let there = false
    for (const name of names) {
      if (!name.startsWith(basename(place.path))) continue
      const stats = await stat(join(folder, name)).catch(() => undefined)
      if (!stats?.isFile()) continue
      const same = stats.dev === place.dev && stats.ino === place.ino
      if (same) there = true
      const id = `${stats.dev}:${stats.ino}`
      if (known.has(id) || moved.has(id)) continue
      const later = ROTATED.test(name.slice(basename(place.path).length)) && bornAt(stats) > place.born && place.born > 0
      if (same || later) moved.set(id, { path: join(folder, name), was: place.path, stats })
    }
    if (!there && !known.has(`${place.dev}:${place.ino}`)) gone.push(place)
  }
  return { moved: [...moved.values()].sort((one, other) => one.stats.mtimeMs - other.stats.mtimeMs), gone }
}

import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { HEAD, isWhole, type Positions, positionsOf, readHead } from './chunk.ts'

/** Files of one buffer, `<number>.seg`, numbered upwards. */
export interface Segment {
  number: number
  size: number
}

export const pathOf = (folder: string, number: number) => join(folder, `${String(number).padStart(10, '0')}.seg`)

/** What is on disk, with the last segment cut behind its last whole chunk. */
export interface Recovered {
  segments: Segment[]
  positions: Map<string, unknown>
  /** Bytes that were cut: a write that the end of the process broke off. */
  cut: number
}

export async function recover(folder: string): Promise<Recovered> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const numbers = (await readdir(folder))
    .map((name) => /^(\d{10})\.seg$/.exec(name)?.[1])
    .filter((digits) => digits !== undefined)
    .map(Number)
    .sort((one, other) => one - other)
  const segments: Segment[] = []
  for (const number of numbers) segments.push({ number, size: (await stat(pathOf(folder, number))).size })
  let cut = 0
  for (let last = segments.at(-1); last; last = segments.at(-1)) {
    const { whole, positions } = await scan(pathOf(folder, last.number))
    cut += last.size - whole
    if (whole > 0) {
      if (whole < last.size) await truncate(pathOf(folder, last.number), whole)
      last.size = whole
      return { segments, positions, cut }
    }
    // Not even its first chunk, which holds all positions, is there: the one before has them.
    await rm(pathOf(folder, last.number))
    segments.pop()
  }
  return { segments, positions: new Map(), cut }
}

/** Length of the whole chunks of a segment, and the positions after them. */
async function scan(path: string): Promise<{ whole: number; positions: Map<string, unknown> }> {
  const positions = new Map<string, unknown>()
  await using file = await open(path, 'r')
  const { size } = await file.stat()
  const head = Buffer.alloc(HEAD)
  let at = 0
  while (at + HEAD <= size) {
    await file.read(head, 0, HEAD, at)
    const found = readHead(head, 0)
    if (!found || at + HEAD + found.length > size) break
    const body = Buffer.allocUnsafe(found.length)
    await file.read(body, 0, found.length, at + HEAD)
    if (!isWhole(found, body)) break
    apply(positions, positionsOf(found, body))
    at += HEAD + found.length
  }
  return { whole: at, positions }
}

export function apply(positions: Map<string, unknown>, changes: Positions | undefined): void {
  for (const [key, value] of Object.entries(changes ?? {})) {
    if (value === null) positions.delete(key)
    else positions.set(key, value)
  }
}

async function truncate(path: string, size: number): Promise<void> {
  await using file = await open(path, 'r+')
  await file.truncate(size)
}

/** Writes a small file so that it is there whole or as it was before. */
export async function replaceFile(path: string, text: string): Promise<void> {
  const fresh = `${path}.new`
  await using file = await open(fresh, 'w', 0o600)
  await file.writeFile(text)
  await rename(fresh, path)
}

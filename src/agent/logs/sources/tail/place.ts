import type { BigIntStats, Stats } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { crc32 } from 'node:zlib'

/** How far one file was read, as it is kept. The file is known by its number on its disk, and by its first bytes: numbers are used again. */
export interface Place {
  path: string
  dev: number
  ino: number
  offset: number
  /** Bytes at its beginning and their crc32. */
  head: number
  crc: number
  /** When the file was made, milliseconds since 1970. */
  born: number
}

/** Bytes of a beginning. */
const HEAD = 256

export function placeKey(source: string, { dev, ino }: { dev: number; ino: number }): string {
  return `tail|${source}|${dev}:${ino}`
}

/** The places of one source, by their keys. */
export function placesOf(source: string, positions: ReadonlyMap<string, unknown>): Map<string, Place> {
  const places = new Map<string, Place>()
  for (const [key, value] of positions) if (key.startsWith(`tail|${source}|`)) places.set(key, value as Place)
  return places
}

/** The first bytes of a file, up to `length`; as they are now. */
export async function readHead(handle: FileHandle, length: number): Promise<{ head: number; crc: number }> {
  const bytes = Buffer.allocUnsafe(Math.min(length, HEAD))
  const { bytesRead } = await handle.read(bytes, 0, bytes.length, 0)
  return { head: bytesRead, crc: crc32(bytes.subarray(0, bytesRead)) }
}

/** Whether a file begins as it did when it was read. */
export async function beginsAs(handle: FileHandle, { head, crc }: { head: number; crc: number }): Promise<boolean> {
  const now = await readHead(handle, head)
  return now.head === head && now.crc === crc
}

export function bornAt(stats: Stats | BigIntStats): number {
  return Number(stats.birthtimeMs)
}

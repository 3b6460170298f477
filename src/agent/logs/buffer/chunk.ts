import { crc32 } from 'node:zlib'
import { LogEvent } from '../event.ts'

/**
 * A segment is a row of chunks: 20 bytes of head (magic, kind, length, crc32 of what follows, events), then a JSON object of
 * positions (its length in the head), then one line for each event: time, tab, tag, tab, JSON.
 * Positions stand with the events they are of, so that both are there or neither.
 */
export const HEAD = 20
const MAGIC = 0x4f4c4731

/** Where sources are; null: forget it. */
export type Positions = Readonly<Record<string, unknown>>

export interface ChunkHead {
  /** Bytes after the head. */
  length: number
  crc: number
  events: number
  /** Bytes of the positions, the first part. */
  positions: number
}

export function encodeChunk(events: readonly LogEvent[], positions: Positions | undefined): Buffer {
  const before = positions ? JSON.stringify(positions) : ''
  let lines = before
  for (const { time, tag, json } of events) lines += `${time}\t${tag}\t${json}\n`
  const size = Buffer.byteLength(lines)
  const out = Buffer.allocUnsafe(HEAD + size)
  out.write(lines, HEAD)
  out.writeUInt32LE(MAGIC, 0)
  out.writeUInt32LE(size, 4)
  out.writeUInt32LE(crc32(out.subarray(HEAD)), 8)
  out.writeUInt32LE(events.length, 12)
  out.writeUInt32LE(before === '' ? 0 : Buffer.byteLength(before), 16)
  return out
}

/** The head at a place of a buffer that holds it whole; undefined: there is none. */
export function readHead(buffer: Buffer, at: number): ChunkHead | undefined {
  if (buffer.readUInt32LE(at) !== MAGIC) return undefined
  const head = {
    length: buffer.readUInt32LE(at + 4),
    crc: buffer.readUInt32LE(at + 8),
    events: buffer.readUInt32LE(at + 12),
    positions: buffer.readUInt32LE(at + 16),
  }
  return head.positions <= head.length ? head : undefined
}

/** Whether the bytes after a head are those that were written. */
export function isWhole(head: ChunkHead, body: Buffer): boolean {
  return crc32(body) === head.crc
}

export function positionsOf(head: ChunkHead, body: Buffer): Positions | undefined {
  return head.positions > 0 ? (JSON.parse(body.toString('utf8', 0, head.positions)) as Positions) : undefined
}

/** Events of a chunk that a tag's test lets through; `origin` names its place. */
export function eventsOf(head: ChunkHead, body: Buffer, origin: string, wanted: (tag: string) => boolean, into: LogEvent[]): void {
  if (head.events === 0) return
  const text = body.toString('utf8', head.positions)
  let at = 0
  for (let index = 0; index < head.events; index++) {
    const first = text.indexOf('\t', at)
    const second = text.indexOf('\t', first + 1)
    const end = text.indexOf('\n', second + 1)
    const tag = text.slice(first + 1, second)
    if (wanted(tag)) {
      const event = new LogEvent(Number(text.slice(at, first)), tag, undefined, text.slice(second + 1, end))
      event.origin = origin
      event.index = index
      into.push(event)
    }
    at = end + 1
  }
}

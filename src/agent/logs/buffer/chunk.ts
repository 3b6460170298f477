import { crc32 } from 'node:zlib'
import { ByteText } from '../byte-text.ts'
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

const lines = new ByteText(HEAD)

export function encodeChunk(events: readonly LogEvent[], positions: Positions | undefined): Buffer {
  if (positions) lines.add(JSON.stringify(positions))
  const before = lines.length
  for (const { time, tag, json } of events) lines.add(`${time}\t${tag}\t`).add(json).add('\n')
  const out = lines.take()
  out.writeUInt32LE(MAGIC, 0)
  out.writeUInt32LE(out.length - HEAD, 4)
  out.writeUInt32LE(crc32(out.subarray(HEAD)), 8)
  out.writeUInt32LE(events.length, 12)
  out.writeUInt32LE(before, 16)
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
  let at = head.positions
  for (let index = 0; index < head.events; index++) {
    const first = body.indexOf(9, at)
    const second = body.indexOf(9, first + 1)
    const end = body.indexOf(10, second + 1)
    const tag = body.toString('utf8', first + 1, second)
    if (wanted(tag)) {
      const event = new LogEvent(Number(body.toString('latin1', at, first)), tag, undefined, body.toString('utf8', second + 1, end))
      event.origin = origin
      event.index = index
      into.push(event)
    }
    at = end + 1
  }
}

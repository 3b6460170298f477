import { codec, loadCodec } from './compression.ts'
import { crc32c } from './crc32c.ts'
import { Reader, varintSize, Writer } from './wire.ts'

/** A record to publish; a null value is a tombstone. */
export interface OutRecord {
  key: Buffer | null
  value: Buffer | null
  headers: readonly (readonly [name: string, value: string])[]
}

/** A record as read; its buffers are views of the response. */
export interface InRecord {
  offset: number
  /** Milliseconds since 1970. */
  timestamp: number
  key: Buffer | null
  value: Buffer | null
  headers: [name: string, value: Buffer | null][]
  /** Bytes it takes in memory, roughly. */
  size: number
}

/** Where a batch's fields begin (record batch format 2, Kafka 0.11 and later). */
const HEADER = 61
const CRC_FROM = 21
const MOST_DECOMPRESSED = 256 * 2 ** 20
const CONTROL = 0x20

/** Bytes a record takes in a batch, at most. */
export function sizeOf(record: OutRecord): number {
  let size = 32 + (record.key?.length ?? 0) + (record.value?.length ?? 0)
  // A text takes at most three bytes for each of its UTF-16 units.
  for (const [name, value] of record.headers) size += (name.length + value.length) * 3 + 10
  return size
}

/** One batch with all the records, uncompressed or with the codec of this number, which has to be loaded. */
export function encodeBatch(records: readonly OutRecord[], codecNumber: number, now: number): Buffer {
  const body = new Writer(1024)
  const record = new Writer(512)
  for (const [index, { key, value, headers }] of records.entries()) {
    record.reset()
    record.int8(0).int8(0).varint(index)
    optional(record, key)
    optional(record, value)
    record.varint(headers.length)
    for (const [name, text] of headers) {
      const nameSize = Buffer.byteLength(name)
      const textSize = Buffer.byteLength(text)
      record.varint(nameSize).utf8(name, nameSize).varint(textSize).utf8(text, textSize)
    }
    body.varint(record.length).raw(record.bytesWritten())
  }
  const plain = body.bytesWritten()
  const data = codecNumber === 0 ? plain : loadedCodec(codecNumber).compress(plain)
  const batch = new Writer(HEADER + data.length)
  batch
    .int64(0)
    .int32(HEADER - 12 + data.length)
    .int32(-1)
    .int8(2)
    .int32(0)
  batch.int16(codecNumber).int32(records.length - 1)
  batch.int64(now).int64(now)
  // No producer id, epoch or sequence: not idempotent.
  batch.int64(-1).int16(-1).int32(-1).int32(records.length).raw(data)
  const bytes = batch.bytesWritten()
  batch.patchInt32(17, crc32c(bytes, CRC_FROM))
  return bytes
}

function optional(writer: Writer, bytes: Buffer | null): void {
  if (bytes === null) writer.varint(-1)
  else writer.varint(bytes.length).raw(bytes)
}

function loadedCodec(number: number) {
  const found = codec(number)
  if (found === undefined) throw new Error(`compression ${number} is not loaded`)
  return found
}

export interface Batches {
  records: InRecord[]
  /** The offset to go on from: after the last whole batch, also when it held nothing for us. */
  next: number
}

/**
 * Reads the whole batches of a partition's part of a response, from offset `from` on; the last one may be cut off.
 * Control batches of transactions are passed over. Throws when a checksum is wrong or the format is older than Kafka 0.11.
 */
export async function decodeBatches(bytes: Buffer, from: number): Promise<Batches> {
  const records: InRecord[] = []
  let next = from
  for (let at = 0; at + HEADER <= bytes.length; ) {
    const head = new Reader(bytes, at)
    const base = head.int64()
    const end = at + 12 + head.int32()
    if (end > bytes.length) break
    head.int32()
    const magic = head.int8()
    if (magic !== 2) throw new Error(`record batch format ${magic} is not known; topics written before Kafka 0.11 have to be rewritten`)
    const sum = head.int32() >>> 0
    if (crc32c(bytes, at + CRC_FROM, end) !== sum) throw new Error(`the record batch at offset ${base} is damaged: wrong checksum`)
    const attributes = head.int16()
    const last = base + head.int32()
    const time = head.int64()
    const latest = head.int64()
    head.at += 14
    const count = head.int32()
    if ((attributes & CONTROL) === 0 && last >= from) {
      const plain = bytes.subarray(head.at, end)
      const number = attributes & 7
      const data = number === 0 ? plain : (codec(number) ?? (await loadCodec(number))).decompress(plain, MOST_DECOMPRESSED)
      // Bit 3: the broker's time of appending counts for the whole batch.
      readRecords(new Reader(data), count, base, (delta) => (attributes & 8 ? latest : time + delta), from, records)
    }
    next = Math.max(next, last + 1)
    at = end
  }
  return { records, next }
}

function readRecords(reader: Reader, count: number, base: number, time: (delta: number) => number, from: number, into: InRecord[]): void {
  for (let index = 0; index < count; index++) {
    const length = reader.varint()
    const end = reader.at + length
    reader.at += 1
    const timestamp = time(reader.varint())
    const offset = base + reader.varint()
    if (offset < from) {
      reader.at = end
      continue
    }
    const key = optionalOf(reader)
    const value = optionalOf(reader)
    const headers: [string, Buffer | null][] = []
    for (let left = reader.varint(); left > 0; left--)
      headers.push([(optionalOf(reader) ?? Buffer.alloc(0)).toString(), optionalOf(reader)])
    reader.at = end
    into.push({ offset, timestamp, key, value, headers, size: length + 200 + varintSize(length) })
  }
}

function optionalOf(reader: Reader): Buffer | null {
  const size = reader.varint()
  return size < 0 ? null : reader.raw(size)
}

import { ProtoReader, ProtoWriter } from '../../transport/grpc/wire.ts'
import { crc32c } from '../kafka/crc32c.ts'
import { Type } from './commands.ts'

// The commands that go by with each message, by hand: PulsarApi.proto gives the numbers.

/** Where a message is; `batch` is its place in the batch that shares the rest, -1 outside of one. */
export interface EntryId {
  ledger: number
  entry: number
}

/** One message to write. */
export interface OutMessage {
  payload: Buffer
  key: string | undefined
  properties: readonly (readonly [name: string, value: string])[]
  /** Milliseconds since 1970, 0: at once. */
  deliverAt: number
}

const MAGIC = 0x0e01
const BROKER_MAGIC = 0x0e02
const writer = new ProtoWriter()

function properties(of: OutMessage, field: number): void {
  for (const [name, value] of of.properties) {
    const mark = writer.begin(field)
    writer.string(1, name, true)
    writer.string(2, value, true)
    writer.end(mark)
  }
}

/** Bytes of the payload of a batch: each message behind its SingleMessageMetadata and that one's length. */
export function batchPayload(messages: readonly OutMessage[]): Buffer {
  const parts: Buffer[] = []
  for (const one of messages) {
    writer.reset()
    properties(one, 1)
    if (one.key !== undefined) writer.string(2, one.key, true)
    writer.uint(3, one.payload.length, true)
    const head = writer.take(4)
    head.writeUInt32BE(head.length - 4, 0)
    parts.push(head, one.payload)
  }
  return Buffer.concat(parts)
}

export interface SendOptions {
  producerId: number
  producerName: string
  sequenceId: number
  schemaVersion: Buffer | undefined
  /** CompressionType's number. */
  compression: number
  /** Of the payload before it was compressed. */
  size: number
}

/** A SEND frame in two parts, head and payload. `messages`: what the payload holds; one alone stands outside of a batch. */
export function sendFrame(options: SendOptions, messages: readonly OutMessage[], payload: Buffer): Buffer {
  const { producerId, sequenceId } = options
  const first = messages[0] as OutMessage
  const alone = messages.length === 1
  writer.reset()
  writer.uint(1, Type.send)
  const mark = writer.begin(Type.send)
  writer.uint(1, producerId, true)
  writer.uint(2, sequenceId, true)
  if (!alone) writer.uint(3, messages.length)
  writer.end(mark)
  const command = writer.take()
  writer.string(1, options.producerName, true)
  writer.uint(2, sequenceId, true)
  writer.uint(3, Date.now())
  if (alone) properties(first, 4)
  if (first.key !== undefined) writer.string(6, first.key, true)
  if (options.compression !== 0) writer.uint(8, options.compression)
  writer.uint(9, options.size)
  if (!alone) writer.uint(11, messages.length)
  if (options.schemaVersion !== undefined) writer.bytes(16, options.schemaVersion)
  if (first.deliverAt !== 0) writer.int64(19, first.deliverAt)
  const metadata = writer.take()
  // Sizes of all and of the command, the command, magic, checksum, size of the metadata, the metadata, the payload.
  const out = Buffer.allocUnsafe(18 + command.length + metadata.length + payload.length)
  out.writeUInt32BE(out.length - 4, 0)
  out.writeUInt32BE(command.length, 4)
  let at = 8 + command.copy(out, 8)
  out.writeUInt16BE(MAGIC, at)
  const sum = at + 2
  at = out.writeUInt32BE(metadata.length, at + 6)
  at += metadata.copy(out, at)
  payload.copy(out, at)
  out.writeUInt32BE(crc32c(out, sum + 4), sum)
  return out
}

function framed(): Buffer {
  const out = writer.take(8)
  out.writeUInt32BE(out.length - 4, 0)
  out.writeUInt32BE(out.length - 8, 4)
  return out
}

function ids(field: number, of: readonly EntryId[]): void {
  for (const { ledger, entry } of of) {
    const mark = writer.begin(field)
    writer.int64(1, ledger, true)
    writer.int64(2, entry, true)
    writer.end(mark)
  }
}

/** Individual acknowledgements; the broker answers to `requestId` when they are kept. */
export function ackFrame(consumerId: number, of: readonly EntryId[], requestId: number): Buffer {
  writer.reset()
  writer.uint(1, Type.ack)
  const mark = writer.begin(Type.ack)
  writer.uint(1, consumerId, true)
  writer.uint(2, 0, true)
  ids(3, of)
  writer.uint(8, requestId)
  writer.end(mark)
  return framed()
}

/** The broker may send so many messages more. */
export function flowFrame(consumerId: number, permits: number): Buffer {
  writer.reset()
  writer.uint(1, Type.flow)
  const mark = writer.begin(Type.flow)
  writer.uint(1, consumerId, true)
  writer.uint(2, permits, true)
  writer.end(mark)
  return framed()
}

/** The broker gives these again; without any, all that are not acknowledged. */
export function redeliverFrame(consumerId: number, of: readonly EntryId[]): Buffer {
  writer.reset()
  writer.uint(1, Type.redeliver)
  const mark = writer.begin(Type.redeliver)
  writer.uint(1, consumerId, true)
  ids(2, of)
  writer.end(mark)
  return framed()
}

/** SEND_RECEIPT: whose, and which. */
export function readReceipt(reader: ProtoReader): { producerId: number; sequenceId: number } {
  const found = { producerId: 0, sequenceId: 0 }
  while (reader.next()) {
    if (reader.field === 1) found.producerId = reader.uint()
    else if (reader.field === 2) found.sequenceId = reader.int64()
    else reader.skip()
  }
  return found
}

/** MESSAGE: for whom, and where it is. */
export function readMessage(reader: ProtoReader): { consumerId: number; id: EntryId; redelivered: number } {
  const found = { consumerId: 0, id: { ledger: 0, entry: 0 }, redelivered: 0 }
  while (reader.next()) {
    if (reader.field === 1) found.consumerId = reader.uint()
    else if (reader.field === 2) {
      const id = reader.message()
      while (id.next()) {
        if (id.field === 1) found.id.ledger = id.int64()
        else if (id.field === 2) found.id.entry = id.int64()
        else id.skip()
      }
    } else if (reader.field === 3) found.redelivered = reader.uint()
    else reader.skip()
  }
  return found
}

/** What is said of the payload of an entry. */
export interface EntryMetadata {
  properties: Record<string, string>
  compression: number
  size: number
  /** Messages in the payload; undefined when it is one message and no batch. */
  batch: number | undefined
  encrypted: boolean
  chunks: number
}

function readProperty(reader: ProtoReader, into: Record<string, string>): void {
  reader.entry(into)
}

/** Metadata and payload of an entry, from behind the command on. Throws when its checksum is wrong. */
export function readEntry(frame: Buffer, from: number): { metadata: EntryMetadata; payload: Buffer } {
  let at = from
  if (frame.readUInt16BE(at) === BROKER_MAGIC) at += 6 + frame.readUInt32BE(at + 2)
  if (frame.readUInt16BE(at) === MAGIC) {
    if (frame.readUInt32BE(at + 2) !== crc32c(frame, at + 6)) throw new Error('its checksum is wrong')
    at += 6
  }
  const start = at + 4
  const end = start + frame.readUInt32BE(at)
  const metadata: EntryMetadata = { properties: {}, compression: 0, size: 0, batch: undefined, encrypted: false, chunks: 0 }
  const reader = new ProtoReader(frame, start, end)
  while (reader.next()) {
    if (reader.field === 4) readProperty(reader, metadata.properties)
    else if (reader.field === 8) metadata.compression = reader.uint()
    else if (reader.field === 9) metadata.size = reader.uint()
    else if (reader.field === 11) metadata.batch = reader.uint()
    else if (reader.field === 13) {
      metadata.encrypted = true
      reader.skip()
    } else if (reader.field === 27) metadata.chunks = reader.uint()
    else reader.skip()
  }
  return { metadata, payload: frame.subarray(end) }
}

/** The messages of a batch; undefined for one that compaction took out. */
export function readBatch(payload: Buffer, count: number): ({ payload: Buffer; properties: Record<string, string> } | undefined)[] {
  const out: ReturnType<typeof readBatch> = []
  let at = 0
  for (let index = 0; index < count; index++) {
    const start = at + 4
    const end = start + payload.readUInt32BE(at)
    const reader = new ProtoReader(payload, start, end)
    const found: Record<string, string> = {}
    let size = 0
    let compacted = false
    while (reader.next()) {
      if (reader.field === 1) readProperty(reader, found)
      else if (reader.field === 3) size = reader.uint()
      else if (reader.field === 4) compacted = reader.uint() !== 0
      else reader.skip()
    }
    at = end + size
    if (at > payload.length) throw new Error('its batch breaks off')
    out.push(compacted ? undefined : { payload: payload.subarray(end, at), properties: found })
  }
  return out
}

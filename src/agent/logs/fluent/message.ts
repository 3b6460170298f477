import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { cleanTag, LogEvent, type LogRecord } from '../event.ts'
import { Extension, MsgpackError, plain, Unpacker } from './unpack.ts'

const unpackGzip = promisify(gunzip)

/** What one message of the forward protocol brings. */
export interface ForwardMessage {
  events: LogEvent[]
  /** Those among them that had no time, or were no record. */
  odd: number
  /** To be answered as `{ack: chunk}` when the events are kept. */
  chunk: string | undefined
}

/**
 * Reads a message of Fluentd's forward protocol (v1): one event, an array of entries, or packed entries, also compressed ones.
 * Rejects with MsgpackError for what is none, and for entries longer than `limit` unpacked.
 */
export async function readMessage(bytes: Buffer, limit: number): Promise<ForwardMessage> {
  const unpacker = new Unpacker(bytes)
  // A heartbeat: nothing to read.
  if (bytes.length === 1 && bytes[0] === 0xc0) return { events: [], odd: 0, chunk: undefined }
  const length = unpacker.arrayLength()
  if (length === undefined || length < 2) throw new MsgpackError('a message is an array of tag and events')
  const tag = unpacker.bytes()?.toString('utf8')
  if (tag === undefined) throw new MsgpackError('a message begins with its tag')
  const into = new Entries(tag)
  const packed = unpacker.bytes()
  if (packed) {
    const option = optionOf(length > 2 ? unpacker.next() : undefined)
    const whole = option.compressed === 'gzip' ? await unpacked(packed, limit) : packed
    const entries = new Unpacker(whole)
    while (!entries.empty) into.add(entries.next())
    return into.message(option)
  }
  const count = unpacker.arrayLength()
  if (count !== undefined) {
    for (let index = 0; index < count; index++) into.add(unpacker.next())
    return into.message(optionOf(length > 2 ? unpacker.next() : undefined))
  }
  into.add([unpacker.next(), unpacker.next()])
  return into.message(optionOf(length > 3 ? unpacker.next() : undefined))
}

async function unpacked(packed: Buffer, limit: number): Promise<Buffer> {
  try {
    return await unpackGzip(packed, { maxOutputLength: limit })
  } catch (error) {
    throw new MsgpackError(`compressed entries cannot be unpacked: ${(error as Error).message}`)
  }
}

interface Option {
  chunk?: unknown
  compressed?: unknown
}

function optionOf(value: unknown): Option {
  return typeof value === 'object' && value !== null ? (value as Option) : {}
}

class Entries {
  readonly #tag: string
  readonly #events: LogEvent[] = []
  #odd = 0

  constructor(tag: string) {
    this.#tag = cleanTag(tag)
  }

  /** What has no time gets that of its coming, and what is no record becomes one: it was acknowledged, so it is kept. */
  add(entry: unknown): void {
    const [when, given] = Array.isArray(entry) && entry.length >= 2 ? (entry as unknown[]) : [undefined, entry]
    // Fluent Bit puts the time into an array with metadata.
    const time = timeOf(Array.isArray(when) ? when[0] : when)
    const record = plain(given)
    const odd = typeof record !== 'object' || record === null || Array.isArray(record)
    if (odd || time === undefined) this.#odd++
    this.#events.push(new LogEvent(time ?? Date.now(), this.#tag, odd ? { message: record } : (record as LogRecord)))
  }

  message({ chunk }: Option): ForwardMessage {
    return {
      events: this.#events,
      odd: this.#odd,
      chunk: typeof chunk === 'string' ? chunk : Buffer.isBuffer(chunk) ? chunk.toString('utf8') : undefined,
    }
  }
}

/** Seconds, or Fluentd's EventTime; zero is now, as Fluentd has it. Some clients can be told to send milliseconds. */
function timeOf(value: unknown): number | undefined {
  if (value instanceof Extension && value.type === 0 && value.data.length === 8)
    return value.data.readUInt32BE(0) * 1000 + Math.round(value.data.readUInt32BE(4) / 1000) / 1000
  if (typeof value !== 'number' || !(value >= 0 && value < 1e14)) return undefined
  return value === 0 ? Date.now() : value > 1e11 ? value : value * 1000
}

import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { cleanTag, LogEvent, type LogRecord } from '../event.ts'
import { Extension, MsgpackError, plain, Unpacker } from './unpack.ts'

const unpackGzip = promisify(gunzip)

/** What one message of the forward protocol brings. */
export interface ForwardMessage {
  events: LogEvent[]
  /** Entries that were none. */
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

  add(entry: unknown): void {
    const [when, record] = Array.isArray(entry) ? (entry as unknown[]) : []
    // Fluent Bit puts the time into an array with metadata.
    const time = timeOf(Array.isArray(when) ? when[0] : when)
    if (time === undefined || typeof record !== 'object' || record === null || Array.isArray(record) || Buffer.isBuffer(record)) this.#odd++
    else this.#events.push(new LogEvent(time, this.#tag, plain(record) as LogRecord))
  }

  message({ chunk }: Option): ForwardMessage {
    return {
      events: this.#events,
      odd: this.#odd,
      chunk: typeof chunk === 'string' ? chunk : Buffer.isBuffer(chunk) ? chunk.toString('utf8') : undefined,
    }
  }
}

/** Seconds, or Fluentd's EventTime; zero is now, as Fluentd has it. */
function timeOf(value: unknown): number | undefined {
  if (value instanceof Extension && value.type === 0 && value.data.length === 8)
    return value.data.readUInt32BE(0) * 1000 + Math.round(value.data.readUInt32BE(4) / 1000) / 1000
  if (typeof value !== 'number' || !Number.isFinite(value) || Math.abs(value) > 1e11) return undefined
  return value === 0 ? Date.now() : value * 1000
}

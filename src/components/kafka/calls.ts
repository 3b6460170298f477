import type { Reader, Writer } from './wire.ts'

/** One request: how it is written and how its answer is read. All versions here are without tagged fields. */
export interface Call<T> {
  key: number
  /** The versions we write, oldest and newest; the newest one that the broker knows is taken. */
  versions: readonly [number, number]
  write(writer: Writer, version: number): void
  read(reader: Reader, version: number): T
}

export const API_VERSIONS = 18

/** key → [oldest, newest] of a broker. */
export type Versions = ReadonlyMap<number, readonly [number, number]>

export function apiVersions(): Call<{ error: number; versions: Versions }> {
  return {
    key: API_VERSIONS,
    versions: [0, 0],
    write: () => {},
    read: (reader) => ({
      error: reader.int16(),
      versions: new Map(reader.array(() => [reader.int16(), [reader.int16(), reader.int16()] as const] as const)),
    }),
  }
}

export interface BrokerAddress {
  id: number
  host: string
  port: number
}

export interface Metadata {
  brokers: BrokerAddress[]
  topics: { error: number; name: string; partitions: { error: number; index: number; leader: number }[] }[]
}

/** Topics that do not exist are made when the broker allows it. An empty list asks for the brokers only. */
export function metadata(topics: readonly string[]): Call<Metadata> {
  return {
    key: 3,
    versions: [4, 4],
    write: (writer) => writer.array(topics, (topic) => writer.string(topic)).int8(1),
    read: (reader) => {
      reader.int32()
      const brokers = reader.array(() => {
        const broker = { id: reader.int32(), host: reader.text(), port: reader.int32() }
        reader.string()
        return broker
      })
      reader.string()
      reader.int32()
      const found = reader.array(() => {
        const topic = { error: reader.int16(), name: reader.text(), partitions: [] as Metadata['topics'][number]['partitions'] }
        reader.int8()
        topic.partitions = reader.array(() => {
          const partition = { error: reader.int16(), index: reader.int32(), leader: reader.int32() }
          reader.array(() => reader.int32())
          reader.array(() => reader.int32())
          return partition
        })
        return topic
      })
      return { brokers, topics: found }
    },
  }
}

export interface PartitionBytes {
  topic: string
  partition: number
  batch: Buffer
}

export interface Produced {
  topic: string
  partition: number
  error: number
}

export function produce(acks: number, timeout: number, parts: readonly PartitionBytes[]): Call<Produced[]> {
  return {
    key: 0,
    versions: [3, 7],
    write: (writer) => {
      writer.string(null).int16(acks).int32(timeout)
      writer.array([...byTopic(parts)], ([topic, list]) => {
        writer.string(topic)
        writer.array(list, ({ partition, batch }) => writer.int32(partition).bytes(batch))
      })
    },
    read: (reader, version) =>
      reader
        .array(() => {
          const topic = reader.text()
          return reader.array(() => {
            const part = { topic, partition: reader.int32(), error: reader.int16() }
            reader.at += version >= 5 ? 24 : 16
            return part
          })
        })
        .flat(),
  }
}

export interface FetchWish {
  topic: string
  partition: number
  offset: number
}

export interface Fetched {
  topic: string
  partition: number
  error: number
  bytes: Buffer
}

export interface FetchLimits {
  /** How long the broker may wait for minBytes, milliseconds. */
  maxWait: number
  minBytes: number
  maxBytes: number
  partitionBytes: number
}

/** Without a fetch session: every request names all its partitions. */
export function fetch(limits: FetchLimits, wishes: readonly FetchWish[]): Call<Fetched[]> {
  return {
    key: 1,
    versions: [4, 11],
    write: (writer, version) => {
      writer.int32(-1).int32(limits.maxWait).int32(limits.minBytes).int32(limits.maxBytes).int8(0)
      if (version >= 7) writer.int32(0).int32(-1)
      writer.array([...byTopic(wishes)], ([topic, list]) => {
        writer.string(topic)
        writer.array(list, ({ partition, offset }) => {
          writer.int32(partition)
          if (version >= 9) writer.int32(-1)
          writer.int64(offset)
          if (version >= 5) writer.int64(-1)
          writer.int32(limits.partitionBytes)
        })
      })
      if (version >= 7) writer.int32(0)
      if (version >= 11) writer.string('')
    },
    read: (reader, version) => {
      reader.int32()
      if (version >= 7) {
        const error = reader.int16()
        reader.int32()
        if (error !== 0) return wishes.map(({ topic, partition }) => ({ topic, partition, error, bytes: Buffer.alloc(0) }))
      }
      return reader
        .array(() => {
          const topic = reader.text()
          return reader.array(() => {
            const partition = reader.int32()
            const error = reader.int16()
            reader.at += version >= 5 ? 24 : 16
            // Transactions that were aborted: read as daprd does, uncommitted.
            reader.array(() => reader.raw(16))
            if (version >= 11) reader.int32()
            return { topic, partition, error, bytes: reader.bytes() ?? Buffer.alloc(0) }
          })
        })
        .flat()
    },
  }
}

export const EARLIEST = -2
export const LATEST = -1

export function listOffsets(
  time: number,
  parts: readonly { topic: string; partition: number }[],
): Call<{ topic: string; partition: number; error: number; offset: number }[]> {
  return {
    key: 2,
    versions: [1, 1],
    write: (writer) => {
      writer.int32(-1)
      writer.array([...byTopic(parts)], ([topic, list]) => {
        writer.string(topic)
        writer.array(list, ({ partition }) => writer.int32(partition).int64(time))
      })
    },
    read: (reader) =>
      reader
        .array(() => {
          const topic = reader.text()
          return reader.array(() => {
            const partition = reader.int32()
            const error = reader.int16()
            reader.int64()
            return { topic, partition, error, offset: reader.int64() }
          })
        })
        .flat(),
  }
}

/** Items by their topic, in order of appearance. */
export function byTopic<T extends { topic: string }>(items: readonly T[]): Map<string, T[]> {
  const topics = new Map<string, T[]>()
  for (const item of items) {
    const list = topics.get(item.topic)
    if (list) list.push(item)
    else topics.set(item.topic, [item])
  }
  return topics
}

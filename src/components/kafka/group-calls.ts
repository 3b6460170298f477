import { type BrokerAddress, byTopic, type Call } from './calls.ts'

export function findCoordinator(group: string): Call<{ error: number; message: string | null; broker: BrokerAddress }> {
  return {
    key: 10,
    versions: [1, 1],
    write: (writer) => writer.string(group).int8(0),
    read: (reader) => {
      reader.int32()
      const error = reader.int16()
      const message = reader.string()
      return { error, message, broker: { id: reader.int32(), host: reader.text(), port: reader.int32() } }
    },
  }
}

export interface JoinOptions {
  group: string
  sessionTimeout: number
  rebalanceTimeout: number
  /** Empty for a member that is new. */
  member: string
  strategy: string
  /** The strategy's metadata: topics and what it remembers. */
  metadata: Buffer
}

export interface Joined {
  error: number
  generation: number
  strategy: string
  leader: string
  member: string
  /** Only the leader gets them. */
  members: { id: string; metadata: Buffer }[]
}

export function joinGroup(options: JoinOptions): Call<Joined> {
  return {
    key: 11,
    versions: [2, 4],
    write: (writer) => {
      writer.string(options.group).int32(options.sessionTimeout).int32(options.rebalanceTimeout).string(options.member).string('consumer')
      writer.array([options], ({ strategy, metadata }) => writer.string(strategy).bytes(metadata))
    },
    read: (reader) => {
      reader.int32()
      return {
        error: reader.int16(),
        generation: reader.int32(),
        strategy: reader.text(),
        leader: reader.text(),
        member: reader.text(),
        members: reader.array(() => ({ id: reader.text(), metadata: reader.bytes() ?? Buffer.alloc(0) })),
      }
    },
  }
}

/** A member of a group in one generation of it. */
export interface Membership {
  group: string
  generation: number
  member: string
}

export function syncGroup(
  { group, generation, member }: Membership,
  assignments: readonly { member: string; assignment: Buffer }[],
): Call<{ error: number; assignment: Buffer }> {
  return {
    key: 14,
    versions: [1, 2],
    write: (writer) => {
      writer.string(group).int32(generation).string(member)
      writer.array(assignments, (one) => writer.string(one.member).bytes(one.assignment))
    },
    read: (reader) => {
      reader.int32()
      return { error: reader.int16(), assignment: reader.bytes() ?? Buffer.alloc(0) }
    },
  }
}

export function heartbeat({ group, generation, member }: Membership): Call<number> {
  return {
    key: 12,
    versions: [1, 2],
    write: (writer) => writer.string(group).int32(generation).string(member),
    read: (reader) => {
      reader.int32()
      return reader.int16()
    },
  }
}

export function leaveGroup(group: string, member: string): Call<number> {
  return {
    key: 13,
    versions: [1, 2],
    write: (writer) => writer.string(group).string(member),
    read: (reader) => {
      reader.int32()
      return reader.int16()
    },
  }
}

export interface Position {
  topic: string
  partition: number
  /** The next message to read. */
  offset: number
}

export function offsetCommit(
  { group, generation, member }: Membership,
  positions: readonly Position[],
): Call<{ topic: string; partition: number; error: number }[]> {
  return {
    key: 8,
    versions: [2, 4],
    write: (writer) => {
      writer.string(group).int32(generation).string(member).int64(-1)
      writer.array([...byTopic(positions)], ([topic, list]) => {
        writer.string(topic)
        writer.array(list, ({ partition, offset }) => writer.int32(partition).int64(offset).string(''))
      })
    },
    read: (reader, version) => {
      if (version >= 3) reader.int32()
      return reader
        .array(() => {
          const topic = reader.text()
          return reader.array(() => ({ topic, partition: reader.int32(), error: reader.int16() }))
        })
        .flat()
    },
  }
}

/** `offset` is -1 where the group has committed none. */
export function offsetFetch(group: string, parts: readonly { topic: string; partition: number }[]): Call<(Position & { error: number })[]> {
  return {
    key: 9,
    versions: [1, 1],
    write: (writer) => {
      writer.string(group)
      writer.array([...byTopic(parts)], ([topic, list]) => {
        writer.string(topic)
        writer.array(list, ({ partition }) => writer.int32(partition))
      })
    },
    read: (reader) =>
      reader
        .array(() => {
          const topic = reader.text()
          return reader.array(() => {
            const partition = reader.int32()
            const offset = reader.int64()
            reader.string()
            return { topic, partition, offset, error: reader.int16() }
          })
        })
        .flat(),
  }
}

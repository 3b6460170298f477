import type { Call } from './calls.ts'
import { Connection } from './connection.ts'
import { check } from './errors.ts'

/** For tests: makes a topic with so many partitions. */
export async function makeTopic(broker: string, topic: string, partitions: number): Promise<void> {
  const [host = '', port = ''] = broker.split(':')
  const options = { clientId: 'test', dialTimeout: 5000, keepAlive: 0 }
  const connection = await Connection.open(host, Number(port), options, AbortSignal.timeout(5000), () => {})
  const create: Call<number[]> = {
    key: 19,
    versions: [2, 4],
    write: (writer) => {
      writer.array([topic], (name) => writer.string(name).int32(partitions).int16(1).int32(0).int32(0))
      writer.int32(5000).int8(0)
    },
    read: (reader) => {
      reader.int32()
      return reader.array(() => {
        reader.string()
        const error = reader.int16()
        reader.string()
        return error
      })
    },
  }
  try {
    for (const code of await connection.call(create, 10_000)) check(code)
  } finally {
    connection.close()
  }
}

import { EtcdClient } from '../../../components/etcd/client.ts'
import { Sort, SortTarget } from '../../../components/etcd/messages.ts'
import { milliseconds } from '../../../resources/agent-schema.ts'
import { pause } from '../../../waiting.ts'
import { entriesOf, MOST_ENTRIES, type OpenSource } from '../source.ts'

/** Keys below a prefix of etcd, read every so often. */
export const openEtcd: OpenSource = (spec) => {
  const { endpoints, prefix = 'config/', tls } = spec.etcd ?? { endpoints: [] }
  const what = `etcd at ${endpoints.join(', ')}`
  const client = new EtcdClient({ endpoints, owner: `configuration source ${spec.name}`, ...(tls && { tls: {} }) })
  const key = Buffer.from(prefix)
  return {
    what,
    async read(signal) {
      const { kvs } = await client.range(
        { key, rangeEnd: endOf(key), limit: MOST_ENTRIES + 1, sortOrder: Sort.ascend, sortTarget: SortTarget.key },
        signal,
      )
      return entriesOf(
        kvs.map((kv) => [kv.key.toString().slice(prefix.length), kv.value.toString()]),
        spec,
      )
    },
    wait: (signal) => pause(milliseconds(spec.interval, '5s'), signal),
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  }
}

/** The first key behind all that begin with this prefix. */
function endOf(prefix: Buffer): Buffer {
  for (let at = prefix.length - 1; at >= 0; at--) {
    const byte = prefix[at] as number
    if (byte < 0xff) return Buffer.concat([prefix.subarray(0, at), Buffer.from([byte + 1])])
  }
  return Buffer.from([0])
}

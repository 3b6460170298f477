import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, it } from 'node:test'
import { assign, decodeAssignment, decodeWish, encodeAssignment, encodeWish, type MemberWish, STRATEGIES } from './assignors.ts'
import { COMPRESSIONS, codecOf, loadCodec } from './compression.ts'
import { crc32c } from './crc32c.ts'
import { partitionOf } from './partitioner.ts'
import { decodeBatches, encodeBatch } from './records.ts'
import { Reader, Writer } from './wire.ts'

describe('Kafka formats', () => {
  it('writes and reads whole numbers of every size', () => {
    const values = [0, -1, 1, 63, -64, 64, 8191, 2 ** 31, -(2 ** 31) - 1, 2 ** 40 + 7, -(2 ** 52), Number.MAX_SAFE_INTEGER]
    const writer = new Writer(1)
    for (const value of values) writer.varint(value).int64(value)
    const reader = new Reader(writer.bytesWritten())
    for (const value of values) assert.deepEqual([reader.varint(), reader.int64()], [value, value])
    assert.throws(() => reader.int8(), RangeError)
  })

  it('computes CRC-32C as RFC 3720 has it', () => {
    assert.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa)
    assert.equal(crc32c(Buffer.alloc(32, 0xff)), 0x62a8ab43)
    assert.equal(crc32c(Buffer.from('123456789')), 0xe3069283)
  })

  it('puts a key into the partition that daprd chooses', () => {
    // Computed with sarama's hash partitioner (FNV-1a, 32 bits).
    assert.deepEqual(
      ['', 'a', 'foobar'].map((key) => partitionOf(Buffer.from(key), 1 << 30)),
      [0x811c9dc5, 0xe40c292c, 0xbf9cf968].map((hash) => Math.abs((hash | 0) % (1 << 30))),
    )
  })

  for (const compression of COMPRESSIONS.slice(1)) {
    it(`compresses with ${compression} and back`, async () => {
      const codec = await loadCodec(codecOf(compression))
      const text = Buffer.from('{"orderId":1,"status":"new"}'.repeat(5000))
      const inputs = [
        Buffer.alloc(0),
        Buffer.from('a'),
        Buffer.alloc(100_000),
        text,
        randomBytes(70_000),
        Buffer.concat([text, randomBytes(300), text]),
      ]
      for (const input of inputs) {
        const packed = codec.compress(input)
        assert.ok(codec.decompress(packed, 2 ** 24).equals(input))
        if (input === text) assert.ok(packed.length * 5 < input.length)
      }
      assert.throws(() => codec.decompress(codec.compress(text), 1000))
    })
  }

  it('refuses a damaged batch and leaves one that is cut off for later', async () => {
    const batch = Buffer.from(encodeBatch([{ key: null, value: Buffer.from('value'), headers: [] }], 0, 1))
    assert.deepEqual((await decodeBatches(batch.subarray(0, -1), 0)).records, [])
    batch[batch.length - 2] = (batch[batch.length - 2] as number) ^ 1
    await assert.rejects(decodeBatches(batch, 0), /checksum/)
  })

  it('passes over what comes before the offset asked for', async () => {
    const records = ['a', 'b', 'c'].map((text) => ({ key: null, value: Buffer.from(text), headers: [['ü', '✓'] as const] }))
    const read = await decodeBatches(encodeBatch(records, 0, 1234), 1)
    assert.deepEqual(
      read.records.map(({ offset, value, timestamp, headers }) => [offset, String(value), timestamp, headers.map(([n, v]) => n + v)]),
      [
        [1, 'b', 1234, ['ü✓']],
        [2, 'c', 1234, ['ü✓']],
      ],
    )
    assert.equal(read.next, 3)
  })

  for (const strategy of STRATEGIES) {
    it(`gives every partition to one of those that want it: ${strategy}`, () => {
      const counts = new Map([
        ['many', 7],
        ['one', 1],
        ['nobody', 3],
      ])
      const wish = (id: string, topics: string[], had = new Map<string, number[]>()): MemberWish =>
        decodeWish(id, encodeWish(topics, strategy, had, 3))
      const members = [wish('a', ['many']), wish('b', ['many', 'one'], new Map([['many', [5, 6]]])), wish('c', ['one'])]
      const shares = assign(strategy, members, counts)
      const owners = [...shares].flatMap(([id, own]) =>
        [...own].flatMap(([topic, partitions]) => partitions.map((partition) => [topic, partition, id] as const)),
      )
      assert.equal(owners.length, 8)
      assert.equal(new Set(owners.map(([topic, partition]) => `${topic}/${partition}`)).size, 8)
      for (const [topic, , id] of owners) assert.ok(members.find((member) => member.id === id)?.topics.includes(topic))
      const sizes = ['a', 'b'].map((id) => shares.get(id)?.get('many')?.length ?? 0)
      assert.deepEqual(sizes.toSorted(), [3, 4])
      if (strategy === 'sticky')
        assert.deepEqual(
          [5, 6].every((partition) => shares.get('b')?.get('many')?.includes(partition)),
          true,
        )
      const own = shares.get('b') as Map<string, number[]>
      assert.deepEqual(decodeAssignment(encodeAssignment(own)), own)
    })
  }
})

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { BSON } from 'mongodb'
import { BsonError, Doubles, Encoded, encode, TYPE, Uuid } from './bson.ts'
import { decimalText } from './bson-decimal.ts'
import { toJson } from './bson-json.ts'
import { decode, eachElement } from './bson-read.ts'
import { message, ReplyReader } from './message.ts'

const jsonOf = (document: Buffer) => toJson(document, TYPE.document, 0, document.length)
const every = {
  ...{
    double: new BSON.Double(1.5),
    text: 'ü\u0000x',
    document: { a: { b: {} } },
    array: [1, 'two', [3]],
    binary: new BSON.Binary(Buffer.from('hi')),
  },
  ...{ id: new BSON.ObjectId('00112233445566778899aabb'), yes: true, no: false, date: new Date(86_400_000), null: null, regex: /a.b/i },
  ...{ code: new BSON.Code('x()'), scoped: new BSON.Code('y()', { z: 1 }), int: 7, timestamp: new BSON.Timestamp({ t: 1, i: 2 }) },
  ...{
    long: BSON.Long.fromString('9007199254740993'),
    decimal: BSON.Decimal128.fromString('1.50'),
    min: new BSON.MinKey(),
    max: new BSON.MaxKey(),
  },
  ...{ symbol: new BSON.BSONSymbol('s'), ключ: 1, ['__proto__']: 1 },
}

/** The same sequence in every run. */
function* numbers(seed: number): Generator<number> {
  for (let state = seed; ; ) {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31
    yield state
  }
}

describe('BSON', () => {
  it('writes what the official library reads', () => {
    const bytes = encode({
      ...{
        command: 1,
        int: -2_147_483_648,
        double: 2_147_483_648,
        zero: -0,
        fraction: 0.1,
        long: 9_007_199_254_740_993n,
        text: 'ü€😀',
        none: null,
      },
      ...{
        left: undefined,
        yes: true,
        date: new Date(5),
        bytes: Buffer.from([0, 255]),
        uuid: new Uuid(Buffer.alloc(16, 7)),
        list: [1, [], {}],
      },
      ...{ doubles: new Doubles({ a: [1, { b: 2 }] }), encoded: new Encoded(encode({ in: 'side' })) },
    })
    const read = BSON.deserialize(bytes, { promoteValues: false, useBigInt64: false })
    assert.deepEqual(JSON.parse(BSON.EJSON.stringify(read, { relaxed: false })), {
      command: { $numberInt: '1' },
      int: { $numberInt: '-2147483648' },
      double: { $numberDouble: '2147483648.0' },
      zero: { $numberDouble: '-0.0' },
      fraction: { $numberDouble: '0.1' },
      long: { $numberLong: '9007199254740993' },
      text: 'ü€😀',
      none: null,
      yes: true,
      date: { $date: { $numberLong: '5' } },
      bytes: { $binary: { base64: 'AP8=', subType: '00' } },
      uuid: { $binary: { base64: 'BwcHBwcHBwcHBwcHBwcHBw==', subType: '04' } },
      list: [{ $numberInt: '1' }, [], {}],
      doubles: { a: [{ $numberDouble: '1.0' }, { b: { $numberDouble: '2.0' } }] },
      encoded: { in: 'side' },
    })
  })

  it('writes documents that outgrow its memory, and what follows them', () => {
    const large = { text: '€'.repeat(600_000), bytes: Buffer.alloc(2 << 20, 1) }
    assert.equal(BSON.deserialize(encode(large)).text, large.text)
    assert.deepEqual(BSON.deserialize(encode({ a: 1 })), { a: 1 })
  })

  it('refuses what MongoDB would not store, and says what', () => {
    let deep: unknown = 1
    for (let level = 0; level < 250; level++) deep = { a: deep }
    assert.throws(() => encode({ deep }), /nested deeper than 200/)
    assert.throws(() => encode({ 'a\0b': 1 }), /"a\\u0000b" has a zero character/)
    assert.deepEqual(BSON.deserialize(encode({ a: 'x\0y' })), { a: 'x\0y' })
  })

  it('reads all types that the official library writes', () => {
    const bytes = Buffer.from(BSON.serialize(every))
    const read = decode(bytes)
    assert.deepEqual(Object.keys(read), Object.keys(every))
    assert.equal(read.long, 9_007_199_254_740_993n)
    assert.equal(read.id, '00112233445566778899aabb')
    assert.deepEqual(read.array, [1, 'two', [3]])
    assert.equal(
      jsonOf(bytes),
      '{"double":1.5,"text":"ü\\u0000x","document":{"a":{"b":{}}},"array":[1,"two",[3]],"binary":"aGk=","id":"00112233445566778899aabb","yes":true,"no":false,"date":"1970-01-02T00:00:00.000Z","null":null,"regex":null,"code":"x()","scoped":null,"int":7,"timestamp":null,"long":9007199254740993,"decimal":"1.50","min":null,"max":null,"symbol":"s","ключ":1,"__proto__":1}',
    )
  })

  it('tells decimals as the official library does', () => {
    const texts =
      '0 -0 1 -1 1.50 0.001 0.0000001 1E+3 1E-6 1E-7 123456789012345678901234567890.1234 9.999999999999999999999999999999999E+6144 1E-6176 NaN Infinity -Infinity'
    for (const text of texts.split(' ')) {
      const decimal = BSON.Decimal128.fromString(text)
      const bytes = Buffer.from(BSON.serialize({ decimal }))
      eachElement(bytes, 0, bytes.length, (_type, _name, at) => assert.equal(decimalText(bytes, at), decimal.toString(), text))
    }
  })

  it('refuses bytes that are no document, without reading past their end or going on for ever', () => {
    const good = Buffer.from(BSON.serialize(every))
    const random = numbers(7)
    const next = () => random.next().value as number
    let refused = 0
    for (let round = 0; round < 20_000; round++) {
      const bytes = Buffer.from(good.subarray(0, round % 5 === 0 ? next() % good.length : good.length))
      for (let times = next() % 4; times >= 0 && bytes.length; times--) bytes[next() % bytes.length] = next() >> 8
      for (const read of [() => decode(bytes), () => jsonOf(bytes)])
        try {
          read()
        } catch (error) {
          refused++
          assert.ok(error instanceof BsonError, `${error} of ${bytes.toString('hex')}`)
        }
    }
    assert.ok(refused > 10_000, `${refused} refused`)
    let deep = BSON.serialize({})
    for (let level = 0; level < 400; level++) deep = Buffer.concat([head(deep.length + 8), Buffer.from([3, 97, 0]), deep, Buffer.from([0])])
    assert.throws(() => decode(Buffer.from(deep)), /nested deeper/)
    assert.throws(() => jsonOf(Buffer.from(deep)), /nested deeper/)
  })
})

function head(length: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(length)
  return bytes
}

describe('OP_MSG', () => {
  const reply = (id: number) => {
    const bytes = message(1, { ok: 1, text: 'x'.repeat(id) })
    bytes.writeInt32LE(id, 8)
    return bytes
  }

  it('comes whole out of pieces of any size', () => {
    const all = Buffer.concat([reply(1), reply(300), reply(2), reply(70_000)])
    for (const size of [1, 7, 16, 21, 1000, all.length]) {
      const found: number[] = []
      const reader = new ReplyReader(({ to, document }) => found.push(to, String(document.text).length))
      for (let at = 0; at < all.length; at += size) reader.push(all.subarray(at, at + size))
      assert.deepEqual(found, [1, 1, 300, 300, 2, 2, 70_000, 70_000], `pieces of ${size}`)
    }
  })

  it('is refused where it is something else, before memory is spent on it', () => {
    const change = (edit: (bytes: Buffer) => void) => {
      const bytes = reply(5)
      edit(bytes)
      return () => new ReplyReader(() => {}).push(bytes)
    }
    assert.throws(() => new ReplyReader(() => {}).push(Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')), BsonError)
    assert.throws(
      change((bytes) => bytes.writeInt32LE(48_000_001, 0)),
      BsonError,
    )
    assert.throws(
      change((bytes) => bytes.writeInt32LE(-1, 0)),
      BsonError,
    )
    assert.throws(
      change((bytes) => bytes.writeInt32LE(20, 0)),
      BsonError,
    )
    assert.throws(
      change((bytes) => bytes.writeInt32LE(2012, 12)),
      BsonError,
    )
    assert.throws(
      change((bytes) => bytes.writeInt32LE(2, 16)),
      /flags that nobody asked for/,
    )
    assert.throws(
      change((bytes) => bytes.writeUInt8(1, 20)),
      /no document/,
    )
    assert.throws(
      change((bytes) => bytes.writeInt32LE(9999, 21)),
      BsonError,
    )
  })

  it('is refused or read, and nothing else, whatever bytes come', () => {
    const random = numbers(11)
    for (let round = 0; round < 5000; round++) {
      const bytes = reply(round % 40)
      for (let times = 0; times < 3; times++) bytes[(random.next().value as number) % bytes.length] = (random.next().value as number) >> 8
      try {
        new ReplyReader(() => {}).push(bytes)
      } catch (error) {
        assert.ok(error instanceof BsonError, String(error))
      }
    }
  })
})

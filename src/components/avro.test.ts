import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { decodeAvro, encodeAvro } from './avro.ts'
import { parseAvro } from './avro-schema.ts'
import { exactJson, parseExact } from './exact-json.ts'

const named = {
  type: 'record',
  name: 'R',
  namespace: 'a.b',
  fields: [
    { name: 'x', type: ['null', 'string'], default: null },
    { name: 'y', type: 'int', default: 7 },
  ],
}
const list = {
  type: 'record',
  name: 'N',
  fields: [
    { name: 'v', type: 'long' },
    { name: 'next', type: ['null', 'N'], default: null },
  ],
}
const parted = [
  'null',
  { type: 'record', name: 'P', fields: [{ name: 'a', type: 'int' }] },
  { type: 'record', name: 'Q', fields: [{ name: 'b', type: 'int' }] },
]

/** Schema, JSON in, binary in hex, JSON out where it is another: what goavro 2.14.1, which daprd uses, gives. */
const PLAIN: readonly (readonly [schema: unknown, json: string, hex: string, back?: string])[] = [
  [named, '{"x":"hi","y":1}', '0204686902'],
  [named, '{}', '000e', '{"x":null,"y":7}'],
  ['long', '9007199254740993', '8280808080808020'],
  ['long', '-9223372036854775808', 'ffffffffffffffffff01'],
  ['double', '5', '0000000000001440'],
  ['float', '0.5', '0000003f'],
  ['bytes', '"\\u00ff\\u0001a"', '06ff0161', '"ÿ\\u0001a"'],
  [{ type: 'fixed', name: 'F', size: 2 }, '"\\u00ffa"', 'ff61', '"ÿa"'],
  [{ type: 'enum', name: 'E', symbols: ['A', 'B'] }, '"B"', '02'],
  [{ type: 'long', logicalType: 'timestamp-millis' }, '1700000000123', 'f6a1abfef962'],
  [{ type: 'bytes', logicalType: 'decimal', precision: 6, scale: 2 }, '"09"', '043039'],
  [['null', 'string', { type: 'array', items: 'int' }, { type: 'map', values: 'string' }], '[1,2]', '0404020400'],
  [parted, '{"b":1}', '0402'],
  [list, '{"v":1,"next":{"v":2,"next":null}}', '02020400'],
  ['string', '"ü <&> \\u0001"', '10c3bc203c263e2001'],
]
const TAGGED: typeof PLAIN = [
  [named, '{"x":{"string":"hi"},"y":1}', '0204686902'],
  [named, '{}', '000e', '{"x":null,"y":7}'],
  [['null', 'int', { type: 'array', items: 'int' }], '{"array":[1]}', '04020200'],
  [parted, '{"Q":{"b":1}}', '0402'],
  [list, '{"v":1,"next":{"N":{"v":2}}}', '02020400', '{"v":1,"next":{"N":{"v":2,"next":null}}}'],
]

describe('Avro', () => {
  for (const [tagged, rows] of [
    [false, PLAIN],
    [true, TAGGED],
  ] as const)
    it(`values have the bytes that Go's library gives them${tagged ? ', in JSON with the names of members' : ''}, and come back`, () => {
      for (const [schema, json, hex, back = json] of rows) {
        const type = parseAvro(schema)
        const bytes = encodeAvro(type, parseExact(json), tagged)
        assert.equal(bytes.toString('hex'), hex, json)
        assert.equal(exactJson(decodeAvro(type, bytes, tagged)), back.startsWith('"') ? JSON.stringify(JSON.parse(back)) : back)
      }
    })

  it('what does not fit is said by its place', () => {
    const refused = (schema: unknown, json: string, why: RegExp, tagged = false) =>
      assert.throws(() => encodeAvro(parseAvro(schema), parseExact(json), tagged), why, json)
    refused(named, '{"y":"1"}', /^Error: y is no int/)
    refused(named, '{"z":1}', /z is no field of record a\.b\.R/)
    refused(list, '{"v":1,"next":{}}', /next\.v: only default values/)
    refused('int', '2147483648', /no int/)
    refused('long', '9223372036854775808', /no long/)
    refused('long', '1.5', /no long/)
    refused('bytes', '"€"', /no bytes/)
    refused({ type: 'fixed', name: 'F', size: 2 }, '"abc"', /no fixed/)
    refused(parted, '{"b":1}', /no union/, true)
    assert.throws(() => parseAvro('nothing'), /unknown type name: "nothing"/)
    assert.throws(() => parseAvro({ type: 'record', name: 'R' }), /record R has no fields/)
  })

  it('damaged and random bytes end in an error or a value, soon', () => {
    const type = parseAvro({
      type: 'record',
      name: 'A',
      fields: [
        { name: 'l', type: { type: 'array', items: list } },
        { name: 'm', type: { type: 'map', values: ['null', 'bytes'] } },
      ],
    })
    const good = encodeAvro(type, { l: [{ v: 1, next: { v: 2 } }], m: { k: 'x' } })
    for (let size = 0; size < good.length; size++) assert.throws(() => decodeAvro(type, good.subarray(0, size)), /breaks off/)
    let seed = 1
    for (let round = 0; round < 20_000; round++) {
      const bytes = Buffer.from(good)
      for (let change = 0; change < 3; change++) {
        seed = (seed * 1103515245 + 12345) & 0x7fffffff
        bytes[seed % bytes.length] = seed >> 16
      }
      try {
        decodeAvro(type, bytes)
      } catch (error) {
        assert.match(String(error), /^Error: the Avro data /)
      }
    }
    // Items that take no bytes.
    assert.throws(() => decodeAvro(parseAvro({ type: 'array', items: 'null' }), Buffer.from('8080808010', 'hex')), /holds more than/)
  })
})

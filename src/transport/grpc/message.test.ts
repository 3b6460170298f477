import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { bool, bytes, double, enumeration, int32, int64, map, mapOf, message, nested, optional, repeated, string } from './message.ts'
import { ProtoWriter, WireError } from './wire.ts'

const Inner = message('test.Inner', { name: string(1), value: int64(2) })
const Colour = { fullName: 'test.Colour', values: { 0: 'RED', 1: 'BLUE' } }
const Outer = message('test.Outer', {
  text: string(1),
  data: bytes(2),
  flag: bool(3),
  count: int32(4),
  long: int64(5),
  ratio: double(6),
  colour: enumeration(7, Colour),
  inner: nested(8, Inner),
  list: repeated(nested(9, Inner)),
  words: repeated(string(10)),
  labels: map(11),
  named: mapOf(12, Inner),
  maybe: optional(string(13)),
  numbers: repeated(int32(14)),
})

describe('messages described as tables', () => {
  test('every kind of field comes back as it went', () => {
    const value = {
      text: 'tëxt',
      data: Buffer.from([0, 255]),
      flag: true,
      count: -7,
      long: -(2 ** 40) - 3,
      ratio: -0.25,
      colour: 1,
      inner: { name: 'i', value: 2 ** 52 + 1 },
      list: [
        { name: '', value: 0 },
        { name: 'b', value: -1 },
      ],
      words: ['', 'w'],
      labels: { a: '1', __proto__x: '' },
      named: { n: { name: 'z', value: 3 } },
      maybe: '',
      numbers: [0, -1, 300],
    }
    assert.deepEqual(structuredClone(Outer.decode(Outer.encode(value))), structuredClone(value))
  })

  test('nothing sent is zero values, and takes no bytes', () => {
    const empty = Outer.decode(Buffer.alloc(0))
    assert.equal(Outer.encode(empty).length, 0)
    assert.equal(empty.text, '')
    assert.equal(empty.inner, undefined)
    assert.equal(empty.maybe, undefined)
    assert.deepEqual(empty.list, [])
  })

  test('packed numbers, unknown fields and a wrong wire type are read past', () => {
    const writer = new ProtoWriter()
    writer.bytes(14, Buffer.from([1, 2, 0xac, 0x02]))
    writer.string(99, 'unknown')
    writer.uint(1, 5)
    writer.string(10, 'after')
    const decoded = Outer.decode(writer.take())
    assert.deepEqual(decoded.numbers, [1, 2, 300])
    assert.equal(decoded.text, '')
    assert.deepEqual(decoded.words, ['after'])
  })

  test('integers at the ends of their range', () => {
    for (const value of [-(2 ** 31), 2 ** 31 - 1, -1, 127, 128])
      assert.equal(Outer.decode(Outer.encode({ count: value, long: value })).count, value)
    for (const value of [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, -(2 ** 32), 2 ** 32])
      assert.equal(Outer.decode(Outer.encode({ long: value })).long, value)
  })

  test('a message that breaks off is a WireError', () => {
    const whole = Outer.encode({ text: 'hello', inner: { name: 'x' } })
    for (const length of [1, 3, whole.length - 1]) assert.throws(() => Outer.decode(whole.subarray(0, length)), WireError)
  })
})

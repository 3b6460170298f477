import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { parseConnectionString } from './connection-string.ts'
import { Decoder } from './decode.ts'
import { Encoder } from './encode.ts'
import { decodeMessage, encodeBatch, encodeMessage } from './message.ts'
import { signSas } from './sas.ts'
import { Described, described, long, symbol, symbols, Typed, uint, ulong, uuid, uuids } from './values.ts'

const bytesOf = (value: unknown) => new Encoder().value(value).bytes()
const again = (value: unknown) => new Decoder(bytesOf(value)).value()
const id = '00112233-4455-6677-8899-aabbccddeeff'

describe('AMQP values', () => {
  it('have the bytes of the specification', () => {
    const known: [unknown, string][] = [
      [null, '40'],
      [true, '41'],
      [0, '5400'],
      [-1, '54ff'],
      [128, '7100000080'],
      [2 ** 31, '810000000080000000'],
      [long(-1), '55ff'],
      [0.5, '823fe0000000000000'],
      ['é', 'a102c3a9'],
      [symbol('amqp'), 'a304616d7170'],
      [uint(0), '43'],
      [uint(7), '5207'],
      [uint(256), '7000000100'],
      [ulong(0), '44'],
      [ulong(36), '5324'],
      [new Date(1), '830000000000000001'],
      [Buffer.from('a'), 'a00161'],
      [[], '45'],
      [[1, null], 'd0000000060000000154 01'.replace(' ', '')],
      [uuid(id), '9800112233445566778899aabbccddeeff'],
      [uuids([id]), 'f00000001500000001 9800112233445566778899aabbccddeeff'.replace(' ', '')],
      [described(0x24, []), '00532445'],
    ]
    for (const [value, hex] of known) assert.equal(bytesOf(value).toString('hex'), hex, hex)
  })

  it('come back as they went', () => {
    const long1 = 'x'.repeat(300)
    const values = [long1, -129, 2 ** 40, -(2 ** 52), 2n ** 62n, -(2n ** 62n), 1.25, false, new Date(1.7e12), Buffer.alloc(300, 1)]
    for (const value of values) assert.deepEqual(again(value), value)
    assert.deepEqual(again({ a: [1, { b: 'c' }], d: null }), { a: [1, { b: 'c' }], d: null })
    assert.deepEqual(again(new Typed('symbolic-map', { s: symbol('t') })), { s: 't' })
    assert.deepEqual(again(symbols(['a', 'b'])), ['a', 'b'])
    assert.equal(again(uuid(id)), id)
    assert.deepEqual(again(described('com.microsoft:session-filter', null)), new Described('com.microsoft:session-filter', null))
  })

  it('that lie about their size, depth or type are refused', () => {
    for (const hex of ['a1ff61', 'd0000000080000ffff', 'c005ff40', '01', 'f000000001ffffffff40', `${'c00301'.repeat(64)}40`])
      assert.throws(() => new Decoder(Buffer.from(hex, 'hex')).value(), hex)
  })

  it('a key __proto__ is a key', () => {
    const found = again(Object.fromEntries([['__proto__', 'x']])) as Record<string, unknown>
    assert.deepEqual(Object.keys(found), ['__proto__'])
  })
})

describe('AMQP messages', () => {
  it('join data sections, keep sequences and values', () => {
    const two = Buffer.concat([
      encodeMessage({ data: Buffer.from('a') }).bytes,
      new Encoder().described(0x75).binary(Buffer.from('b')).bytes(),
    ])
    assert.equal(decodeMessage(two).data?.toString(), 'ab')
    assert.deepEqual(decodeMessage(new Encoder().described(0x76).list([1, 'x']).bytes()).value, [1, 'x'])
    assert.deepEqual(decodeMessage(encodeMessage({ value: { a: 1 } }).bytes).value, { a: 1 })
  })

  it('of other types of id come as text', () => {
    const section = new Encoder()
      .described(0x73)
      .list([uuid(id), undefined, undefined, undefined, undefined, ulong(7)])
      .bytes()
    const { properties } = decodeMessage(section)
    assert.equal(properties?.messageId, id)
    assert.equal(properties?.correlationId, '7')
  })

  it('stand in a batch in bytes of their own', () => {
    const batch = encodeBatch([encodeMessage({ data: Buffer.from('one') }), encodeMessage({ data: Buffer.from('two') })], {
      annotations: { 'x-opt-partition-key': 'p' },
    })
    assert.equal(batch.format, 0x80013700)
    const decoder = new Decoder(batch.bytes)
    decoder.value()
    const texts: (string | undefined)[] = []
    while (!decoder.done) texts.push(decodeMessage((decoder.value() as Described).value as Buffer).data?.toString())
    assert.deepEqual(texts, ['one', 'two'])
  })
})

describe('shared access signatures', () => {
  it('are those of @azure/core-amqp 4', () => {
    // Its createSasTokenProvider gave this for the same audience, name and key.
    const token =
      'SharedAccessSignature sr=sb%3A%2F%2Fmy-ns.servicebus.windows.net%2Forders%2FSubscriptions%2FApp%20A&sig=jeGpxqRqdhVVAZ3WxRmE14d3tEmOi54GV5uB1TYN7Pw%3D&se=1795326327&skn=Root%20Manage%2BKey'
    const key = { name: 'Root Manage+Key', key: 'c2VjcmV0+/a2V5PT0=' }
    assert.equal(signSas('sb://my-ns.servicebus.windows.net/orders/Subscriptions/App A', key, 1795326327), token)
  })
})

describe('connection strings', () => {
  it('are read with keys, signatures, ports and entities', () => {
    const text = 'Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=n;SharedAccessKey=a+b/c==;EntityPath=hub'
    assert.deepEqual(parseConnectionString(text), {
      host: 'ns.servicebus.windows.net',
      port: undefined,
      entityPath: 'hub',
      key: { name: 'n', key: 'a+b/c==' },
      signature: undefined,
      emulator: false,
    })
    const signed = parseConnectionString('endpoint=sb://h:5/;SharedAccessSignature=SharedAccessSignature sr=x&sig=y&se=1&skn=n')
    assert.deepEqual([signed.port, signed.signature], [5, 'SharedAccessSignature sr=x&sig=y&se=1&skn=n'])
    const emulator = parseConnectionString('Endpoint=sb://localhost;SharedAccessKeyName=n;SharedAccessKey=k;UseDevelopmentEmulator=true;')
    assert.deepEqual([emulator.host, emulator.emulator], ['localhost', true])
  })

  it('that are incomplete are refused without being shown', () => {
    for (const text of [
      'secret-key',
      'Endpoint=sb://h/;SharedAccessKey=secret-key',
      'Endpoint=sb://a b?/;SharedAccessKeyName=n;SharedAccessKey=secret-key',
    ])
      assert.throws(
        () => parseConnectionString(text),
        (error) => error instanceof Error && /connectionString/.test(error.message) && !error.message.includes('secret-key'),
      )
  })
})

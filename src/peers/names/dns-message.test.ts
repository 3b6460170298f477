import assert from 'node:assert/strict'
import { randomBytes, randomInt } from 'node:crypto'
import { test } from 'node:test'
import { type DnsMessage, DnsMessageError, DnsType, decodeMessage, encodeMessage } from './dns-message.ts'

const whole: DnsMessage = {
  id: 7,
  response: true,
  questions: [{ name: 'app.local', type: DnsType.PTR, unicast: true }],
  answers: [{ name: 'app.local', ttl: 3200, flush: false, type: DnsType.PTR, target: 'host\\.x:12.app.local' }],
  authorities: [{ name: 'x.local', ttl: 1, flush: true, type: DnsType.TXT, texts: ['app', ''] }],
  additionals: [
    { name: 'host\\.x:12.app.local', ttl: 0, flush: true, type: DnsType.SRV, port: 50_002, target: 'host.local' },
    { name: 'host.local', ttl: 120, flush: true, type: DnsType.A, address: '10.1.2.3' },
    { name: 'host.local', ttl: 120, flush: false, type: DnsType.AAAA, address: 'fd00::1:0:0:2' },
    { name: 'host.local', ttl: 120, flush: false, type: DnsType.AAAA, address: '::1' },
  ],
}

test('a message comes back as it was written, its names compressed', () => {
  const bytes = encodeMessage(whole)
  assert.deepEqual(decodeMessage(bytes), whole)
  // Once by itself, and once in the SRV record, where RFC 2782 wants it whole.
  assert.equal(bytes.toString('latin1').split('\x05local').length - 1, 2)
})

test('names, labels and texts beyond what DNS carries are refused', () => {
  const query = (name: string) => encodeMessage({ questions: [{ name, type: DnsType.PTR }] })
  assert.throws(() => query(`${'a'.repeat(64)}.local`), DnsMessageError)
  assert.throws(() => query(`${'a'.repeat(60)}.`.repeat(5)), DnsMessageError)
  assert.throws(() => encodeMessage({ answers: [{ name: 'a', ttl: 1, type: DnsType.TXT, texts: ['x'.repeat(256)] }] }), DnsMessageError)
  assert.equal(decodeMessage(query(`${'a'.repeat(63)}.local`)).questions[0]?.name, `${'a'.repeat(63)}.local`)
})

test('names that point at themselves, forwards or in a circle are refused', () => {
  const query = (...name: number[]) => Buffer.from([0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...name, 0, 12, 0, 1])
  for (const name of [
    [0xc0, 12],
    [0xc0, 14, 0],
    [1, 97, 0xc0, 12],
    [0xc0, 200],
    [0x40, 1],
    [63, 97],
  ])
    assert.throws(() => decodeMessage(query(...name)), DnsMessageError, String(name))
})

test('random and broken bytes end in a message or a DnsMessageError, soon', () => {
  const valid = encodeMessage(whole)
  const began = performance.now()
  let read = 0
  for (let i = 0; i < 20_000; i++) {
    let bytes: Buffer
    if (i % 2) {
      bytes = Buffer.from(valid)
      for (let n = randomInt(1, 6); n > 0; n--) bytes[randomInt(bytes.length)] = randomInt(256)
      bytes = bytes.subarray(0, randomInt(4) ? bytes.length : randomInt(bytes.length))
    } else {
      bytes = randomBytes(randomInt(600))
      if (bytes.length > 12) Buffer.from([0, 0, 0x84, 0, 0, randomInt(4), 0, randomInt(9), 0, 0, 0, randomInt(9)]).copy(bytes)
    }
    try {
      decodeMessage(bytes)
      read++
    } catch (error) {
      if (!(error instanceof DnsMessageError)) assert.fail(`${bytes.toString('hex')}: ${(error as Error).stack}`)
    }
  }
  assert.ok(read > 100, `${read} were read`)
  // The worst case for pointers: every record's name walks the longest chain.
  const chain = Buffer.alloc(9000)
  chain.writeUInt16BE(0x8400, 2)
  chain.writeUInt16BE(256, 6)
  for (let at = 12; at + 2 < 9000; at += 2) chain.writeUInt16BE(0xc000 | Math.max(0, at - 2), at)
  assert.throws(() => decodeMessage(chain), DnsMessageError)
  assert.ok(performance.now() - began < 10_000)
})

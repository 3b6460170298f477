import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeMessage, encodeMessage } from './dns-message.ts'
import { type Announced, announcement, answer, browse, probe, sightings } from './mdns-records.ts'

/** Datagrams of daprd 1.18.3 for its app `callee`, recorded. */
const DAPRD = {
  answer:
    '0000840000000001000000030663616c6c6565056c6f63616c00000c000100000c80000b08766d3a3237373230c00cc0240021000100000c80001000000000afc902766d056c6f63616c00c0240010000100000c8000070663616c6c6565c04100010001000000780004c0000202',
  announcement:
    '00008000000000050000000008766d3a32373732300663616c6c6565056c6f63616c000021800100000c80001000000000afc902766d056c6f63616c00c00c0010800100000c8000070663616c6c6565c015000c000100000c800002c00c095f7365727669636573075f646e732d7364045f756470c01c000c000100000c800002c015c03300018001000000780004c0000202',
  goodbye:
    '00008000000000050000000008766d3a32373732300663616c6c6565056c6f63616c000021800100000000001000000000afc902766d056c6f63616c0008766d3a32373732300663616c6c6565056c6f63616c00001080010000000000070663616c6c65650663616c6c6565056c6f63616c00000c000100000000001708766d3a32373732300663616c6c6565056c6f63616c00095f7365727669636573075f646e732d7364045f756470056c6f63616c00000c000100000000000e0663616c6c6565056c6f63616c0002766d056c6f63616c0000018001000000000004c0000202',
  browse: '0000000000010000000000000663616c6c6565056c6f63616c00000c0001',
}
const recorded = (name: keyof typeof DAPRD) => decodeMessage(Buffer.from(DAPRD[name], 'hex'))
const self: Announced = { appId: 'callee', host: '192.0.2.2', port: 45_001, hostName: 'vm', pid: 27_720 }
const written = (message: Partial<ReturnType<typeof decodeMessage>> | undefined) => decodeMessage(encodeMessage(message ?? {}))

test('what daprd says of itself is understood', () => {
  const told = { appId: 'callee', host: '192.0.2.2', port: 45_001 }
  assert.deepEqual(
    sightings(recorded('answer'), () => true),
    [{ ...told, goodbye: false }],
  )
  assert.deepEqual(
    sightings(recorded('announcement'), () => true),
    [{ ...told, goodbye: false }],
  )
  assert.deepEqual(
    sightings(recorded('goodbye'), () => true),
    [{ ...told, goodbye: true }],
  )
  assert.deepEqual(
    sightings(recorded('answer'), (appId) => appId === 'another'),
    [],
  )
})

test('we say the same, but for the flush bit of the host, which may have other addresses', () => {
  const question = recorded('browse').questions[0] as { name: string; type: number }
  assert.deepEqual(written(answer(self, question, [])), recorded('answer'))
  assert.deepEqual(written(browse('callee')), recorded('browse'))
  for (const [name, message] of [
    ['announcement', announcement(self)],
    ['goodbye', announcement(self, true)],
  ] as const) {
    const theirs = recorded(name).answers.map((record) => ({ ...record, flush: record.type !== 1 && record.flush }))
    assert.deepEqual(written(message).answers, theirs, name)
  }
})

test('a probe says what is to be announced, and is no question that others answer', () => {
  const { questions, authorities } = written(probe(self))
  assert.equal(questions[0]?.name, 'vm:27720.callee.local')
  assert.deepEqual(authorities, recorded('answer').additionals.slice(0, 2))
})

test('a host name with dots, an IPv6 address and several records are read as they should', () => {
  const dotted = written(announcement({ ...self, hostName: 'a.b.local', host: 'fd00::5' }))
  assert.deepEqual(
    sightings(dotted, () => true),
    [{ appId: 'callee', host: 'fd00::5', port: 45_001, goodbye: false }],
  )
  const linkLocal = written(announcement({ ...self, host: 'fe80::5' }))
  assert.deepEqual(
    sightings(linkLocal, () => true),
    [],
    'of no use without its zone',
  )
  const withoutHost = { ...dotted, answers: dotted.answers.slice(0, 4) }
  assert.deepEqual(
    sightings(withoutHost, () => true),
    [],
  )
})

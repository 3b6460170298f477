import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { openPipeline, scratch, until } from '../harness.ts'
import type { ForwardOutputSpec, ForwardSourceSpec } from '../spec.ts'

const batch = { flushInterval: '5ms' }
const retry = { initial: '10ms', max: '50ms' }

/** A pipeline that takes the forward protocol into a file. */
async function server(t: TestContext, forward: ForwardSourceSpec = {}) {
  const folder = scratch(t)
  const out = join(folder, 'out.jsonl')
  const opened = await openPipeline(t, folder, {
    sources: [{ name: 'in', forward: { port: 0, ...forward } }],
    outputs: [{ file: { path: out }, batch }],
  })
  const events = () => {
    try {
      return readFileSync(out, 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Record<string, unknown>)
    } catch {
      return []
    }
  }
  return { ...opened, events, port: opened.status().sources.in?.port as number }
}

/** A pipeline that sends posted events on. */
async function client(t: TestContext, forward: ForwardOutputSpec) {
  const opened = await openPipeline(t, scratch(t), {
    sources: [{ name: 'in', tag: 'app', http: { port: 0 } }],
    outputs: [{ name: 'out', forward, batch, retry }],
  })
  const post = (body: string, path = '/') =>
    fetch(`http://127.0.0.1:${opened.status().sources.in?.port}${path}`, {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/json' },
    })
  return { ...opened, post }
}

test('what one pipeline sends another one takes: with and without key, users, compression', async (t) => {
  for (const [taking, sending] of [
    [{}, {}],
    [{}, { gzip: true, ack: false }],
    [{ sharedKey: { value: 'key' } }, { sharedKey: { value: 'key' } }],
    [
      { sharedKey: { value: 'key' }, users: [{ name: 'me', password: { value: 'pw' } }] },
      { sharedKey: { value: 'key' }, user: 'me', password: { value: 'pw' } },
    ],
  ] as [ForwardSourceSpec, Partial<ForwardOutputSpec>][]) {
    const to = await server(t, taking)
    const from = await client(t, { servers: [`127.0.0.1:${to.port}`], ...sending })
    await from.post(
      '[{"n":1,"big":12345678901,"minus":-5,"float":1.5,"list":[true,null,"ü"],"inner":{"a":"b"}},{"n":2}]',
      '/web.front?time=1700000000.123456',
    )
    await until(
      () => to.events().length === 2,
      () => JSON.stringify([from.status(), to.said]),
    )
    assert.deepEqual(to.events()[0], {
      time: '2023-11-14T22:13:20.123Z',
      tag: 'web.front',
      n: 1,
      big: 12345678901,
      minus: -5,
      float: 1.5,
      list: [true, null, 'ü'],
      inner: { a: 'b' },
    })
    await from.close()
    await to.close()
  }
})

test('a wrong key or password is told on both sides, and nothing is lost', async (t) => {
  const to = await server(t, { sharedKey: { value: 'key' }, users: [{ name: 'me', password: { value: 'pw' } }] })
  const from = await client(t, { servers: [`127.0.0.1:${to.port}`], sharedKey: { value: 'other' } })
  await from.post('{"n":1}')
  await until(() => /shared_key mismatch/.test(from.status().outputs.out?.failing ?? ''))
  assert.ok(to.said.some((line) => line.includes('shared_key mismatch')))
  const again = await client(t, { servers: [`127.0.0.1:${to.port}`], sharedKey: { value: 'key' }, user: 'me', password: { value: 'no' } })
  await again.post('{"n":1}')
  await until(() => /username\/password mismatch/.test(again.status().outputs.out?.failing ?? ''))
  assert.equal(to.events().length, 0)
})

test('without an acknowledgement events are sent again, to another server when there is one', async (t) => {
  const silent = createServer((socket) => socket.on('error', () => undefined).resume()).listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.after(() => silent.close())
  const to = await server(t)
  const { port } = silent.address() as { port: number }
  const from = await client(t, { servers: [`127.0.0.1:${port}`, `127.0.0.1:${to.port}`], requestTimeout: '100ms' })
  await from.post('{"n":1}')
  await until(() => to.events().length === 1)
  silent.unref()
})

test('heartbeats over UDP are answered; what is no message ends its connection only', async (t) => {
  const to = await server(t)
  const udp = createSocket('udp4')
  t.after(() => udp.close())
  udp.send(Buffer.from([0]), to.port, '127.0.0.1')
  await once(udp, 'message')
  const bad = connect(to.port, '127.0.0.1')
  bad.write(Buffer.from([0x81, 0xa1, 0x61, 0x01]))
  await once(bad.resume(), 'close')
  assert.ok(to.said.some((line) => line.includes('a message is an array of tag and events')))
  const good = connect(to.port, '127.0.0.1')
  // ["a", 1700000000, {"n": 1}], in pieces.
  for (const byte of Buffer.from([0x93, 0xa1, 0x61, 0xce, 0x65, 0x53, 0xf1, 0x00, 0x81, 0xa1, 0x6e, 0x01])) good.write(Buffer.from([byte]))
  // A time in milliseconds, and an entry that is no record: both are kept.
  const { Packer } = await import('./pack.ts')
  good.write(
    new Packer().array(2).text('b').array(2).array(2).number(1_700_000_000_500).map(0).array(2).number(1_700_000_000).text('x').take(),
  )
  await until(() => to.events().length === 3)
  assert.deepEqual(to.events().slice(1), [
    { time: '2023-11-14T22:13:20.500Z', tag: 'b' },
    { time: '2023-11-14T22:13:20.000Z', tag: 'b', message: 'x' },
  ])
  assert.deepEqual(to.events().slice(0, 1), [{ time: '2023-11-14T22:13:20.000Z', tag: 'a', n: 1 }])
  good.destroy()
})

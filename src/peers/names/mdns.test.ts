import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { DnsType, decodeMessage, encodeMessage } from './dns-message.ts'
import { createMdnsResolver, type MdnsOptions } from './mdns.ts'
import { browse } from './mdns-records.ts'

/** A port that is nobody's, so that tests hear only each other. */
async function freePort(): Promise<number> {
  const socket = createSocket('udp4').bind(0)
  await once(socket, 'listening')
  const { port } = socket.address() as AddressInfo
  socket.close()
  return port
}

async function open(t: TestContext, port: number, options: Partial<MdnsOptions> = {}) {
  const resolver = await createMdnsResolver({ log: { debug() {}, warn() {} }, port, ...options })
  t.after(() => resolver[Symbol.asyncDispose]())
  return resolver
}

test('two sidecars of one machine share the port and find each other; a goodbye is heard', async (t) => {
  const port = await freePort()
  const [one, two] = [await open(t, port), await open(t, port)]
  const registration = await one.register({ appId: 'a', namespace: '', host: '127.0.0.1', port: 4711 })
  assert.deepEqual(await two.resolve('a', ''), [{ host: '127.0.0.1', port: 4711 }])
  // From memory, at once.
  assert.deepEqual(two.resolve('a', ''), [{ host: '127.0.0.1', port: 4711 }])
  // A second instance is heard of without asking: it announces itself.
  await one.register({ appId: 'a', namespace: '', host: '127.0.0.1', port: 4712 })
  while ((await two.resolve('a', '')).length < 2) await new Promise(setImmediate)
  await registration[Symbol.asyncDispose]()
  while ((await two.resolve('a', '')).length > 1) await new Promise(setImmediate)
  assert.deepEqual(await two.resolve('a', ''), [{ host: '127.0.0.1', port: 4712 }])
})

test('a missing app costs one browse, then nothing, until it announces itself', async (t) => {
  const port = await freePort()
  const [one, two] = [await open(t, port), await open(t, port, { browseTimeout: 50 })]
  const began = performance.now()
  const waiting = [two.resolve('late', ''), two.resolve('late', '')]
  assert.equal(waiting[0], waiting[1])
  assert.deepEqual(await waiting[0], [])
  assert.ok(performance.now() - began < 900)
  assert.deepEqual(two.resolve('late', ''), [])
  await one.register({ appId: 'late', namespace: '', host: '127.0.0.1', port: 4713 })
  for (;;) {
    const found = two.resolve('late', '')
    assert.ok(Array.isArray(found), 'nobody was asked')
    if (found.length > 0) break
    await new Promise(setImmediate)
  }
})

test('another with the same name, or with a text that is not the app id, is not taken for a sidecar', async (t) => {
  const port = await freePort()
  const two = await open(t, port, { browseTimeout: 150 })
  const liar = await open(t, port)
  const { openMulticast } = await import('./multicast.ts')
  const socket = await openMulticast({
    port,
    onProblem() {},
    onMessage(bytes) {
      const message = decodeMessage(bytes)
      if (message.questions[0]?.name !== 'printer.local') return
      socket.send(
        encodeMessage({
          response: true,
          answers: [
            { name: 'printer.local', ttl: 10, type: DnsType.PTR, target: 'x.printer.local' },
            { name: 'x.printer.local', ttl: 10, type: DnsType.SRV, port: 9, target: 'h.local' },
            { name: 'x.printer.local', ttl: 10, type: DnsType.TXT, texts: ['model=1', 'printer'] },
            { name: 'h.local', ttl: 10, type: DnsType.A, address: '127.0.0.1' },
          ],
        }),
        'machine',
      )
    },
  })
  t.after(() => socket[Symbol.dispose]())
  await liar.register({ appId: 'Printer', namespace: '', host: '127.0.0.1', port: 4714 })
  assert.deepEqual(await two.resolve('printer', ''), [])
})

test('a name that DNS cannot carry is unknown at once and announced by nobody', async (t) => {
  const resolver = await open(t, await freePort())
  const appId = 'x'.repeat(64)
  await (await resolver.register({ appId, namespace: '', host: '127.0.0.1', port: 1 }))[Symbol.asyncDispose]()
  assert.deepEqual(resolver.resolve(appId, ''), [])
})

test('a plain resolver gets its id and question back; random bytes do not disturb', async (t) => {
  const port = await freePort()
  const one = await open(t, port)
  await one.register({ appId: 'a', namespace: '', host: '127.0.0.1', port: 4715 })
  const asker = createSocket('udp4').bind(0, '127.0.0.1')
  await once(asker, 'listening')
  t.after(() => asker.close())
  asker.setMulticastInterface('127.0.0.1')
  for (let i = 0; i < 50; i++) asker.send(Buffer.from(Array.from({ length: i }, () => Math.random() * 256)), port, '224.0.0.251')
  asker.send(encodeMessage({ ...browse('a'), id: 99 }), port, '224.0.0.251')
  const [bytes] = (await once(asker, 'message')) as [Buffer]
  const reply = decodeMessage(bytes)
  assert.equal(reply.id, 99)
  assert.equal(reply.questions[0]?.name, 'a.local')
  assert.deepEqual(
    reply.additionals.map((record) => record.type),
    [DnsType.SRV, DnsType.TXT, DnsType.A],
  )
  asker.send(encodeMessage({ questions: [{ name: '_services._dns-sd._udp.local', type: DnsType.PTR }] }), port, '224.0.0.251')
  const [services] = (await once(asker, 'message')) as [Buffer]
  assert.equal((decodeMessage(services).answers[0] as { target: string }).target, 'a.local')
  // Whoever knows the answer gets none; the next question is answered.
  asker.send(encodeMessage({ ...browse('a'), answers: reply.answers }), port, '224.0.0.251')
  asker.send(encodeMessage({ ...browse('a'), id: 100 }), port, '224.0.0.251')
  assert.equal(decodeMessage(((await once(asker, 'message')) as [Buffer])[0]).id, 100)
})

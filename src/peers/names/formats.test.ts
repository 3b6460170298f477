import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { openResolver } from '../resolver-registry.ts'
import { type DnsRecord, DnsType, decodeMessage, encodeMessage } from './dns-message.ts'

const context = { appId: 'a', namespace: 'default', registryFile: '', log: { info() {}, debug() {}, warn() {} } as never }
const open = (component: string, configuration?: unknown) => openResolver({ component, configuration }, context)

test('nameformat puts the app id into its format', async () => {
  const resolver = await open('nameformat', { Format: 'dns:///{appid}.internal:7000' })
  assert.deepEqual(await resolver.resolve('orders', 'x'), [{ host: 'orders.internal', port: 7000 }])
  for (const odd of ['a/b', 'a b', 'a@b', '$&', 'x'.repeat(300)]) assert.deepEqual(resolver.resolve(odd, 'x'), [], odd)
  await assert.rejects(open('nameformat', {}), /name resolution nameformat: format is required/)
  await assert.rejects(open('nameformat', { format: 'x:1' }), /format must contain {appid} placeholder/)
  await assert.rejects(open('nameformat', { format: '{appid}' }), /format must give host:port/)
})

test('a static list gives the addresses that are listed', async () => {
  const resolver = await open('static', { apps: { a: '10.0.0.1:1', b: ['[fd00::1]:2', 'host:3'] } })
  assert.deepEqual(await resolver.resolve('a', ''), [{ host: '10.0.0.1', port: 1 }])
  assert.deepEqual(await resolver.resolve('b', ''), [
    { host: 'fd00::1', port: 2 },
    { host: 'host', port: 3 },
  ])
  assert.deepEqual(await resolver.resolve('constructor', ''), [])
  await assert.rejects(open('static', { apps: { a: 'x' } }), /apps.a: "x" is not host:port/)
  await assert.rejects(open('static'), /apps is required/)
})

test('kubernetes looks up the service of the app, by template where there is one', async () => {
  const resolver = await open('kubernetes', { template: '{{ .ID }}{{.Namespace -}}:{{.Port}}' })
  await resolver.register({ appId: 'x', namespace: 'x', host: '127.0.0.1', port: 6000 })
  const found = await resolver.resolve('local', 'host')
  assert.ok(
    found.length > 0 && found.every(({ host, port }) => (host === '127.0.0.1' || host === '::1') && port === 6000),
    JSON.stringify(found),
  )
  await assert.rejects(open('kubernetes', { template: '{{range .}}' }), /{{range .}} is not served/)
})

test('dns asks its servers for addresses and SRV records; a missing name is remembered for a moment', async (t) => {
  const records: DnsRecord[] = [
    { name: 'a.ns.test', ttl: 1, type: DnsType.A, address: '10.0.0.1' },
    { name: 'a.ns.test', ttl: 1, type: DnsType.AAAA, address: 'fd00::7' },
    { name: '_a.test', ttl: 1, type: DnsType.SRV, port: 99, target: 'a.ns.test' },
  ]
  let asked = 0
  const server = createSocket('udp4').bind(0, '127.0.0.1')
  t.after(() => server.close())
  await once(server, 'listening')
  server.on('message', (bytes, from) => {
    // What comes after the question is EDNS, which the decoder leaves out.
    const { id, questions } = decodeMessage(bytes)
    asked++
    const answers = records.filter((record) => record.name === questions[0]?.name && record.type === questions[0]?.type)
    const reply = encodeMessage({ id, response: true, questions, answers })
    const known = records.some((record) => record.name === questions[0]?.name)
    reply.writeUInt16BE(known ? 0x8580 : 0x8583, 2)
    server.send(reply, from.port, from.address)
  })
  const servers = [`127.0.0.1:${(server.address() as AddressInfo).port}`]
  const addresses = await open('dns', { name: '{appid}.{namespace}.test', port: 50_002, servers })
  t.after(() => addresses[Symbol.asyncDispose]())
  assert.deepEqual(await addresses.resolve('a', 'ns'), [
    { host: '10.0.0.1', port: 50_002 },
    { host: 'fd00::7', port: 50_002 },
  ])
  const before = asked
  assert.equal((await addresses.resolve('a', 'ns')).length, 2)
  assert.equal(asked, before)
  assert.deepEqual(await addresses.resolve('missing', 'ns'), [])
  assert.deepEqual(await addresses.resolve('a b', 'ns'), [])
  const after = asked
  assert.deepEqual(addresses.resolve('missing', 'ns'), [])
  assert.equal(asked, after)
  const services = await open('dns', { name: '_{appid}.test', record: 'SRV', servers })
  t.after(() => services[Symbol.asyncDispose]())
  assert.deepEqual(
    (await services.resolve('a', 'ns')).map(({ port }) => port),
    [99, 99],
  )
  await assert.rejects(open('dns', { name: '{appid}' }), /port is required/)
  await assert.rejects(open('dns', { name: 'x', port: 1 }), /must contain {appid}/)
})

test('an unknown component or version names what there is', async () => {
  await assert.rejects(open('nonsense'), /couldn't find name resolver nonsense\/v1: .* one of embedded, mdns, sqlite, consul/)
  await assert.rejects(open('toString'), /couldn't find name resolver/)
  await assert.rejects(openResolver({ component: 'mdns', version: 'v7' }, context), /couldn't find name resolver mdns\/v7/)
  await assert.rejects(open('static', 'text'), /configuration must be an object/)
})

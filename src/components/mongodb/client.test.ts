import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { describe, it } from 'node:test'
import { testAuthority } from '../../../test/servers/certificates.ts'
import type { MongoClient } from './client.ts'
import { message } from './message.ts'
import { openClient } from './open.ts'
import { MongoDouble } from './testing/double.ts'
import { scratchFile } from './testing/files.ts'
import { parseUri } from './uri.ts'

const open = (text: string, nameServers?: readonly string[]): Promise<MongoClient> =>
  openClient({ uri: parseUri(text), database: 'd', appName: 'test', timeout: 1000, ...(nameServers ? { nameServers } : {}) })
const soon = (milliseconds = 1000) => performance.now() + milliseconds
const ask = async (text: string) => {
  await using client = await open(text)
  return await client.read({ ping: 1 }, soon())
}

describe('a client of MongoDB', () => {
  it('signs in with one round trip less, with names that need care, and only at a server that knows the password', async () => {
    const users = { 'a=,b': 'word', 'u:@é': 'p@ss/' }
    await using double = await MongoDouble.start({ users, members: 1 })
    const host = `127.0.0.1:${double.members[0]?.port}`
    for (const [name, password] of Object.entries(users))
      for (const mechanism of ['', '&authMechanism=SCRAM-SHA-1', '&authMechanism=SCRAM-SHA-256']) {
        double.commands.length = 0
        await ask(`mongodb://${encodeURIComponent(name)}:${encodeURIComponent(password)}@${host}/?authSource=admin${mechanism}`)
        assert.deepEqual(double.commands, ['isMaster', 'saslContinue', 'ping'], name + mechanism)
      }
    await assert.rejects(ask(`mongodb://a%3D%2Cb:other@${host}/`), { code: 18 })
    await assert.rejects(ask(`mongodb://nobody:word@${host}/`), { code: 18 })
    await assert.rejects(ask(`mongodb://${host}/`), { code: 13 })
    assert.deepEqual(Object.keys(double.clients[0] ?? {}).sort(), ['application', 'driver', 'os', 'platform'])
  })

  it('signs in with a certificate, and says which one is not taken', async () => {
    const authority = testAuthority()
    const other = testAuthority()
    const tls = { ...authority.issue('localhost'), ca: authority.ca, requestCert: true }
    await using double = await MongoDouble.start({ users: { client: '' }, members: 1, tls })
    const own = authority.issue('client')
    const foreign = other.issue('client')
    using ca = scratchFile(authority.ca)
    using pem = scratchFile(own.cert + own.key)
    using wrong = scratchFile(foreign.cert + foreign.key)
    const through = (more: string) =>
      `mongodb://127.0.0.1:${double.members[0]?.port}/?tls=true&tlsCAFile=${ca.path}&tlsAllowInvalidHostnames=true&${more}`
    await ask(through(`authMechanism=MONGODB-X509&tlsCertificateKeyFile=${pem.path}`))
    await assert.rejects(ask(through('authMechanism=MONGODB-X509')), /18|Authentication|closed|certificate/)
    await assert.rejects(ask(through(`authMechanism=MONGODB-X509&tlsCertificateKeyFile=${wrong.path}`)))
    await assert.rejects(ask(through(`authMechanism=MONGODB-X509&tlsCertificateKeyFile=/nowhere`)), /tlsCertificateKeyFile: \/nowhere/)
  })

  it('finds servers by their record, and follows it nowhere else', async () => {
    await using double = await MongoDouble.start({ members: 1 })
    const port = double.members[0]?.port as number
    const records = { srv: [{ name: 'localhost.test.local', port }], txt: ['replicaSet=rs0&authSource=admin'] }
    await using names = await nameServer(records)
    // The name is not one of this machine: what counts here is which place is tried.
    const reach = async () => {
      await using client = await open('mongodb+srv://db.test.local/?tls=false', [names.address])
      await client.read({ ping: 1 }, soon(300))
    }
    await assert.rejects(reach(), /replica set rs0 has no primary.*localhost\.test\.local/)
    for (const [change, reason] of [
      [{ srv: [{ name: 'localhost.elsewhere.local', port }] }, /leads to localhost\.elsewhere\.local, which is not within test\.local/],
      [{ srv: [{ name: '127.0.0.1', port }] }, /which is not within/],
      [{ txt: ['replicaSet=a', 'replicaSet=b'] }, /2 TXT records/],
      [{ txt: ['tls=false'] }, /sets tls, and may set authSource and replicaSet/],
      [{ txt: ['loadBalanced=true'] }, /loadBalanced, which is not supported/],
      [{ srv: [] }, /ENODATA|names no server/],
    ] as const) {
      names.records = { ...records, ...change } as unknown as typeof records
      await assert.rejects(reach(), reason)
    }
  })

  it('gives up on whoever does not speak the protocol, says so, and leaves nothing open', async () => {
    for (const answer of [
      Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'),
      Buffer.from('ff'.repeat(64), 'hex'),
      message(0, { ok: 1, maxWireVersion: 25 }),
      (() => {
        const bytes = message(0, { ok: 1 })
        bytes.writeInt32LE(1 << 30, 0)
        return bytes
      })(),
    ]) {
      const sockets = new Set<Socket>()
      const server = createServer((socket) => {
        sockets.add(socket)
        socket.on('error', () => {})
        socket.on('close', () => sockets.delete(socket))
        socket.once('data', () => socket.write(answer))
      })
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      {
        await using client = await open(`mongodb://127.0.0.1:${(server.address() as AddressInfo).port}/`)
        await assert.rejects(client.read({ ping: 1 }, soon(300)), /protocol of MongoDB|nobody asked|does not end/)
      }
      server.close()
      for (const socket of sockets) if (!socket.closed) await new Promise((resolve) => socket.once('close', resolve))
    }
  })

  it('says that a server is too old', async () => {
    const server = createServer((socket) =>
      socket.once('data', (chunk: Buffer) => {
        const bytes = message(0, { ok: 1, maxWireVersion: 6, ismaster: true })
        bytes.writeInt32LE(chunk.readInt32LE(4), 8)
        socket.write(bytes)
      }),
    )
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    await assert.rejects(ask(`mongodb://127.0.0.1:${(server.address() as AddressInfo).port}/`), /older than MongoDB 4\.2/)
    server.close()
  })

  it('has at most maxPoolSize connections, however many ask', async () => {
    await using double = await MongoDouble.start({ members: 1 })
    await using client = await open(`${double.address}&maxPoolSize=3`)
    await Promise.all(Array.from({ length: 200 }, () => client.read({ ping: 1 }, soon(5000))))
    assert.ok((double.members[0]?.sockets.size ?? 0) <= 3)
    assert.equal(double.commands.filter((name) => name === 'ping').length, 200)
  })

  it('tells who waits too long for a connection so, and keeps those that there are', async () => {
    await using double = await MongoDouble.start({ members: 1 })
    await using client = await open(`${double.address}&maxPoolSize=1&waitQueueTimeoutMS=50`)
    await client.read({ ping: 1 }, soon())
    const held = double.hold('ping')
    const first = client.read({ ping: 1 }, soon())
    await assert.rejects(client.read({ ping: 1 }, soon()), /no connection became free in time.*maxPoolSize/)
    held.resolve()
    await first
    assert.equal(double.members[0]?.sockets.size, 1)
  })

  it('refuses what it is asked after its end', async () => {
    await using double = await MongoDouble.start({ members: 1 })
    const client = await open(double.address)
    await client.write({ insert: 'c', documents: [{ _id: 'a' }] }, soon())
    await client[Symbol.asyncDispose]()
    assert.ok(double.commands.includes('endSessions'))
    await assert.rejects(client.read({ ping: 1 }, soon()), /the client is closed/)
  })
})

interface Records {
  srv: { name: string; port: number }[]
  txt: string[]
}

/** A name server that knows one name. */
async function nameServer(records: Records): Promise<AsyncDisposable & { address: string; records: Records }> {
  const [SRV, TXT] = [33, 16]
  const socket = createSocket('udp4')
  const labels = (name: string) => Buffer.concat([...name.split('.').map((label) => Buffer.from(`\x00${label}`)), Buffer.from([0])])
  const named = (name: string) => {
    const bytes = labels(name)
    let at = 0
    for (const label of name.split('.')) {
      bytes[at] = label.length
      at += label.length + 1
    }
    return bytes
  }
  const held = { address: '', records, [Symbol.asyncDispose]: () => new Promise<void>((resolve) => socket.close(() => resolve())) }
  socket.on('message', (question, { port, address }) => {
    const end = question.indexOf(0, 12) + 5
    const type = question.readUInt16BE(end - 4)
    const found = type === SRV ? held.records.srv.map(srvData) : type === TXT ? held.records.txt.map(txtData) : []
    const head = Buffer.from(question.subarray(0, end))
    head.writeUInt16BE(0x8180, 2)
    head.writeUInt16BE(found.length, 6)
    head.writeUInt32BE(0, 8)
    const answers = found.map((data) => {
      const bytes = Buffer.alloc(12)
      bytes.writeUInt16BE(0xc00c, 0)
      bytes.writeUInt16BE(type, 2)
      bytes.writeUInt16BE(1, 4)
      bytes.writeUInt16BE(data.length, 10)
      return Buffer.concat([bytes, data])
    })
    socket.send(Buffer.concat([head, ...answers]), port, address)
  })
  const srvData = ({ name, port }: { name: string; port: number }) => {
    const bytes = Buffer.alloc(6)
    bytes.writeUInt16BE(port, 4)
    return Buffer.concat([bytes, named(name)])
  }
  const txtData = (text: string) => Buffer.concat([Buffer.from([text.length]), Buffer.from(text)])
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
  held.address = `127.0.0.1:${socket.address().port}`
  return held
}

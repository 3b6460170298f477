import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, describe, it } from 'node:test'
import { redisServer } from '../../../test/servers/redis.ts'
import { redisCluster } from '../../../test/servers/redis-topologies.ts'
import { parseMetadata } from '../metadata.ts'
import { RedisConnection } from './connection.ts'
import { redisFields } from './fields.ts'
import { clusterClient } from './ioredis.ts'
import { openRedis } from './open.ts'

const server = await redisServer()
const skip = server === undefined ? 'redis-server is not on this machine' : false
const azure = { useEntraID: 'true', azureTenantId: 'T', azureClientId: 'C', azureClientSecret: 'hidden' }

const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
const tokenFor = (claims: object) => `${part({ alg: 'none' })}.${part(claims)}.x`

/** Lets a user in with either password; `times`: how often one signed in there since. */
async function admit(port: number, user: string, ...passwords: string[]) {
  const admin = new RedisConnection({ host: '127.0.0.1', port })
  await admin.connect()
  await admin.call('ACL', 'SETUSER', user, 'on', '~*', '&*', '+@all', ...passwords.map((password) => `>${password}`))
  await admin.call('CONFIG', 'RESETSTAT')
  return {
    times: async () => Number(/cmdstat_auth:calls=(\d+)/.exec(String(await admin.call('INFO', 'commandstats')))?.[1] ?? 0),
    close: () => admin.close(),
  }
}

describe('Redis with a token in place of a password', { skip }, () => {
  after(() => server?.stop())
  const port = server?.port ?? 0

  it('by Microsoft Entra ID: the user is the object of the token, which all connections of a component share', async (t) => {
    const oid = `oid-${process.pid}`
    const token = tokenFor({ oid, exp: Date.now() / 1000 + 3600 })
    const scopes: (string | null)[] = []
    const entra = createServer(async (request, response) => {
      let body = ''
      for await (const chunk of request) body += chunk
      scopes.push(new URLSearchParams(body).get('scope'))
      response.end(JSON.stringify({ access_token: scopes.length === 1 ? token : tokenFor({ sub: 'nobody' }), expires_in: 3600 }))
    }).listen(0, '127.0.0.1')
    await once(entra, 'listening')
    t.after(() => entra.close())
    process.env.AZURE_AUTHORITY_HOST = `http://127.0.0.1:${(entra.address() as AddressInfo).port}`
    const there = await admit(port, oid, token)
    t.after(() => there.close())

    const properties = { ...azure, redisHost: `127.0.0.1:${port}` }
    const values = parseMetadata(redisFields, properties)
    const clients = await Promise.all([openRedis(values, { name: 'a' }), openRedis(values, { name: 'b' })])
    for (const client of clients) assert.equal(await client.call('ACL', 'WHOAMI'), oid)
    for (const client of clients) await client.close()
    assert.deepEqual(scopes, ['https://redis.azure.com/.default'])

    const open = (more: Record<string, string>) => openRedis(parseMetadata(redisFields, { ...properties, ...more }), { name: 'c' })
    await assert.rejects(open({}), /could not parse object ID from Auth token/)
    await assert.rejects(open({ redisPassword: 'x' }), /username or password must not be specified when using Entra ID/)
  })

  it('signs in again before a token ends, on the connection that stands and on those of a cluster', async (t) => {
    const login = (passwords: string[]) => async () => ({ username: 'app', password: passwords.shift() ?? 'second', renew: 20 })
    const there = await admit(port, 'app', 'first', 'second')
    t.after(() => there.close())
    const client = new RedisConnection({ host: '127.0.0.1', port, login: login(['first']) })
    await client.connect()
    t.after(() => client.disconnect())
    const id = await client.call('CLIENT', 'ID')
    while ((await there.times()) < 2) await client.call('PING')
    assert.equal(await client.call('CLIENT', 'ID'), id)
    assert.equal(await client.call('ACL', 'WHOAMI'), 'app')

    const cluster = await redisCluster()
    assert.ok(cluster)
    t.after(() => cluster.stop())
    const addresses = cluster.address.split(',').map((text) => ({ host: '127.0.0.1', port: Number(text.split(':')[1]) }))
    const nodes = await Promise.all(addresses.map((node) => admit(node.port, 'app', 'first', 'second')))
    t.after(() => Promise.all(nodes.map((node) => node.close())))
    const many = await clusterClient(addresses, { ...(addresses[0] as { host: string; port: number }), login: login(['first']) })
    await many.connect()
    t.after(() => many.disconnect())
    for (const key of 'abcdefgh') await many.call('SET', key, '1')
    const before = await Promise.all(nodes.map((node) => node.times()))
    for (const [at, node] of nodes.entries()) while ((await node.times()) <= (before[at] as number)) await many.call('PING')
    for (const key of 'abcdefgh') assert.equal(await many.call('GET', key), '1')
  })
})

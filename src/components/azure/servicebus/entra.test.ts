import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, it } from 'node:test'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { testAuthority } from '../../../../test/servers/certificates.ts'
import { help } from '../../../../test/servers/server.ts'
import { serviceBus, startServiceBus } from '../../../../test/servers/servicebus.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { driver } from '../../pubsub/servicebus/topics.ts'
import { AmqpClient } from '../amqp/client.ts'
import { parseConnectionString } from '../amqp/connection-string.ts'
import { signSas } from '../amqp/sas.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const there = serviceBus.available()
if (!there && process.env.OUTRIDER_REQUIRE_SERVERS === '1') throw new Error(help(serviceBus))
const folder = mkdtempSync(join(tmpdir(), 'outrider-servicebus-tls-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const options = { skip: there ? false : help(serviceBus), timeout: 30_000 }

it('Service Bus over TLS, with tokens of Entra ID for its resource', options, async (t) => {
  const authority = testAuthority()
  const trusted = getCACertificates('default')
  const { cert, key } = authority.issue('localhost')
  const files = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') }
  writeFileSync(files.cert, cert)
  writeFileSync(files.key, key)
  const server = await startServiceBus(files)
  t.after(() => server.stop())
  const { port, searchParams } = new URL(server.address)

  let audience = 'https://servicebus.azure.net'
  const scopes: (string | null)[] = []
  const entra = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (part: string) => {
      body += part
    })
    request.on('end', () => {
      scopes.push(new URLSearchParams(body).get('scope'))
      const claims = { aud: audience, exp: Math.floor(Date.now() / 1000) + 3600 }
      const token = [{ alg: 'none', typ: 'JWT' }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      response.end(JSON.stringify({ access_token: `${token.join('.')}.x`, expires_in: 3600 }))
    })
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => entra.once('listening', resolve))
  t.after(() => entra.close())
  process.env.AZURE_AUTHORITY_HOST = `http://127.0.0.1:${(entra.address() as AddressInfo).port}`
  t.after(() => {
    delete process.env.AZURE_AUTHORITY_HOST
  })

  const open = () =>
    driver.create({
      name: 'bus',
      type: 'pubsub.azure.servicebus.topics',
      version: 'v1',
      appId: 'app',
      namespace: '',
      log,
      properties: {
        namespaceName: `localhost:${port}`,
        managementEndpoint: `https://localhost:${searchParams.get('admin')}`,
        azureTenantId: 'tenant',
        azureClientId: 'client',
        azureClientSecret: 'canary-secret',
        publishMaxRetries: '0',
      },
    })

  await using untrusting = open()
  await assert.rejects(untrusting.init(AbortSignal.timeout(10_000)), /not signed by an authority that is trusted/)

  setDefaultCACertificates([...trusted, authority.ca])
  await using pubsub = open()
  await pubsub.init(AbortSignal.timeout(10_000))
  const { promise, resolve } = Promise.withResolvers<string>()
  const topic = `t-${randomUUID()}`
  await using _ = await pubsub.subscribe(topic, {}, async ({ data }) => resolve(data.toString()))
  await pubsub.publish({ topic, data: Buffer.from('signed in'), metadata: {} })
  assert.equal(await promise, 'signed in')
  assert.deepEqual([...new Set(scopes)], ['https://servicebus.azure.net/.default'])

  audience = 'https://storage.azure.com'
  await using wrong = open()
  await wrong.init(AbortSignal.timeout(10_000))
  await assert.rejects(wrong.publish({ topic, data: Buffer.from('x'), metadata: {} }), /InvalidAudience/)
})

it('tokens are renewed as long as the connection lives', options, async (t) => {
  const server = await startServiceBus()
  t.after(() => server.stop())
  const { hostname, port } = new URL(server.address)
  const { key } = parseConnectionString(
    'Endpoint=sb://h;SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey=canary-shared-access-key',
  )
  let asked = 0
  const { promise, resolve } = Promise.withResolvers<void>()
  await using client = new AmqpClient({
    host: hostname,
    port: Number(port),
    tls: false,
    label: 'test',
    log,
    tokens: async (audience) => {
      if (++asked === 3) resolve()
      const expires = Math.floor(Date.now() / 1000) + 2
      return {
        type: 'servicebus.windows.net:sastoken',
        token: signSas(audience, key as { name: string; key: string }, expires),
        expires: expires * 1000,
      }
    },
  })
  // It has a token and is refused for what it is not.
  await assert.rejects(client.sender('none', {}, AbortSignal.timeout(5000)), { condition: 'amqp:not-found' })
  await promise
})

import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { it } from 'node:test'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { testAuthority } from '../../../../test/servers/certificates.ts'
import { eventHubs } from '../../../../test/servers/eventhubs.ts'
import { help, ownServer } from '../../../../test/servers/server.ts'
import { startTlsFront } from '../../../../test/servers/tls-front.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { outgoing } from './event.ts'
import { Namespace } from './namespace.ts'
import { readHubSettings } from './settings.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const server = await ownServer(eventHubs)

it('a namespace is signed in to over TLS with a token of Entra ID that is for Event Hubs', {
  skip: !server && help(eventHubs),
}, async (t) => {
  t.after(() => server?.stop())
  const authority = testAuthority()
  setDefaultCACertificates([...getCACertificates('default'), authority.ca])
  const { hostname, port } = new URL(server?.address ?? '')
  await using front = await startTlsFront(hostname, Number(port), authority.issue('localhost'))

  let audience = 'https://eventhubs.azure.net'
  const scopes: (string | null)[] = []
  const entra = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (part: string) => {
      body += part
    })
    request.on('end', () => {
      scopes.push(new URLSearchParams(body).get('scope'))
      const claims = { aud: audience, exp: Math.floor(Date.now() / 1000) + 3600 }
      const token = [{ alg: 'none' }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      response.end(JSON.stringify({ access_token: `${token.join('.')}.x`, expires_in: 3600 }))
    })
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => entra.once('listening', resolve))
  t.after(() => entra.close())
  process.env.AZURE_AUTHORITY_HOST = `http://127.0.0.1:${(entra.address() as AddressInfo).port}`

  const credentials = { azureTenantId: 'T', azureClientId: 'C', azureClientSecret: 'S' }
  const open = () => new Namespace(readHubSettings({ eventHubNamespace: `localhost:${front.port}`, ...credentials }, false), 'events', log)
  const batch = { key: undefined, messages: [outgoing(Buffer.from('x'), undefined, undefined)], most: undefined }
  {
    await using namespace = open()
    assert.deepEqual(await namespace.send('orders', batch), { sent: 1 })
    const [end] = await namespace.ends('orders', await namespace.partitions('orders', AbortSignal.timeout(5000)), AbortSignal.timeout(5000))
    assert.deepEqual(end, { partition: '0', sequence: 0, offset: '0' })
    assert.deepEqual(scopes, ['https://eventhubs.azure.net/.default'])
  }
  audience = 'https://storage.azure.com'
  await using namespace = open()
  assert.match((await namespace.send('orders', batch)).error?.message ?? '', /^error trying to establish a connection: .*InvalidAudience/)
})

it('names of namespaces are Azure’s, unless they are addresses', () => {
  const placeOf = (eventHubNamespace: string) => {
    const { host, port, tls, namespace } = readHubSettings({ eventHubNamespace }, false)
    return [host, port, tls, namespace]
  }
  const azure = 'hubs.servicebus.windows.net'
  assert.deepEqual(placeOf('hubs'), [azure, 5671, true, azure])
  assert.deepEqual(placeOf('hubs.example.com'), ['hubs.example.com', 5671, true, 'hubs.example.com'])
  assert.deepEqual(placeOf('localhost:1'), ['localhost', 1, true, 'localhost:1'])
})

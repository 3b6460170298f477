import assert from 'node:assert/strict'
import { createHmac, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { testAuthority } from '../../../../test/servers/certificates.ts'
import { freePort } from '../../../../test/servers/process.ts'
import { type OwnPulsar, pulsar, startPulsar } from '../../../../test/servers/pulsar.ts'
import { help } from '../../../../test/servers/server.ts'
import { startTlsFront, type TlsFront } from '../../../../test/servers/tls-front.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { driver } from './driver.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const limit = { timeout: 60_000 }
const secret = randomBytes(32)

/** A token for a role; `seconds` until it ends. */
function token(sub: string, seconds = 3600): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const head = `${part({ alg: 'HS256' })}.${part({ sub, exp: Math.round(Date.now() / 1000) + seconds })}`
  return `${head}.${createHmac('sha256', secret).update(head).digest('base64url')}`
}

describe('pubsub.pulsar where one has to sign in', { skip: pulsar.available() ? false : help(pulsar) }, () => {
  let broker: OwnPulsar
  let front: TlsFront
  let plain: string
  before(async () => {
    const port = await freePort()
    plain = `127.0.0.1:${port}`
    front = await startTlsFront('127.0.0.1', port, testAuthority().issue('localhost'))
    broker = await startPulsar({
      brokerServicePort: port,
      advertisedListeners: `own:pulsar://127.0.0.1:${port},own:pulsar+ssl://localhost:${front.port}`,
      internalListenerName: 'own',
      authenticationEnabled: 'true',
      authenticationProviders: 'org.apache.pulsar.broker.authentication.AuthenticationProviderToken',
      authenticationRefreshCheckSeconds: 1,
      tokenSecretKey: `data:;base64,${secret.toString('base64')}`,
      authorizationEnabled: 'true',
      superUserRoles: 'admin',
      brokerClientAuthenticationPlugin: 'org.apache.pulsar.client.impl.auth.AuthenticationToken',
      brokerClientAuthenticationParameters: `token:${token('admin')}`,
    })
  })
  after(async () => {
    await front?.[Symbol.asyncDispose]()
    await broker?.stop()
  })

  const open = async (properties: Record<string, string>) => {
    const all = { host: plain, ...properties }
    const pubsub = driver.create({ name: 'orders', type: 'pubsub.pulsar', version: 'v1', properties: all, appId: 'a', namespace: '', log })
    await pubsub.init(AbortSignal.timeout(10_000))
    return pubsub
  }
  const publish = async (properties: Record<string, string>) => {
    await using pubsub = await open(properties)
    await pubsub.publish({ topic: 'signed', data: Buffer.from('x'), metadata: {} })
  }

  it('takes a token, and says in words what is wrong with one', limit, async () => {
    await publish({ token: token('admin') })
    await assert.rejects(
      publish({ token: 'rubbish' }),
      /orders: cannot connect to Pulsar: .*AuthenticationError.*correct the metadata field token/,
    )
    await assert.rejects(publish({}), /AuthenticationError/)
    await assert.rejects(publish({ token: token('nobody') }), /orders: cannot publish to topic signed: .*AuthorizationError/)
  })

  it('gets tokens by OAuth2, and the next one when the broker asks', limit, async () => {
    const forms: string[] = []
    const asked: PromiseWithResolvers<void> = Promise.withResolvers()
    const server = createServer((request, response) => {
      let form = ''
      request.on('data', (chunk: Buffer) => (form += chunk))
      request.on('end', () => {
        forms.push(`${request.headers.authorization} ${form}`)
        if (forms.length === 2) asked.resolve()
        response.end(JSON.stringify({ access_token: token('admin', 2), token_type: 'bearer', expires_in: 2 }))
      })
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    try {
      await using pubsub = await open({
        oauth2TokenURL: `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`,
        oauth2ClientID: 'id',
        oauth2ClientSecret: 'secret',
        oauth2Audiences: 'pulsar',
        oauth2Scopes: 'one, two',
      })
      await pubsub.publish({ topic: 'signed', data: Buffer.from('x'), metadata: {} })
      assert.equal(
        forms[0],
        `Basic ${Buffer.from('id:secret').toString('base64')} grant_type=client_credentials&scope=one+two&audience=pulsar`,
      )
      await asked.promise
      await pubsub.publish({ topic: 'signed', data: Buffer.from('y'), metadata: {} })
    } finally {
      server.close()
      server.closeAllConnections()
    }
  })

  it('speaks TLS, lookups included, and checks the certificate with enableTLS', limit, async () => {
    const host = `pulsar+ssl://localhost:${front.port}`
    await publish({ host, token: token('admin') })
    await assert.rejects(
      publish({ host, token: token('admin'), enableTLS: 'true' }),
      /localhost:\d+.*not signed by an authority that is trusted/,
    )
    await assert.rejects(publish({ host: `pulsar+ssl://${plain}`, publishTimeout: '2s' }), /cannot connect to Pulsar/)
  })
})

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { verify } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { kafka, startKafka } from '../../../../test/servers/kafka.ts'
import { freePort } from '../../../../test/servers/process.ts'
import type { PubSub } from '../../../blocks/pubsub/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { driver } from './driver.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const limit = { timeout: 90_000 }

async function open(properties: Record<string, string>): Promise<PubSub> {
  const pubsub = driver.create({ name: 'orders', type: 'pubsub.kafka', version: 'v1', properties, appId: 'app', namespace: 'default', log })
  try {
    await pubsub.init(AbortSignal.timeout(10_000))
  } catch (error) {
    await pubsub[Symbol.asyncDispose]()
    throw error
  }
  return pubsub
}

/** Signs in with these settings, publishes, and reads it back. */
async function works(topic: string, properties: Record<string, string>): Promise<void> {
  await using pubsub = await open(properties)
  const got = Promise.withResolvers<string>()
  await using _subscription = await pubsub.subscribe(topic, {}, async ({ data }) => got.resolve(data.toString()))
  await pubsub.publish({ topic, data: Buffer.from('x'), metadata: {} })
  assert.equal(await got.promise, 'x')
}

/** What Event Hubs takes for a password, of a user of this name, at the endpoint that speaks Kafka's protocol. */
const EVENT_HUBS = 'Endpoint=sb://hubs.servicebus.windows.net/;SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey=a+b/c='

const jaas = (module: string, users = '') => `org.apache.kafka.common.security.${module} required ${users};`

describe('pubsub.kafka signs in', { skip: kafka.available() ? false : 'Kafka is not on this machine' }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'outrider-kafka-tls-'))
  after(() => rmSync(directory, { recursive: true, force: true }))
  const at = (name: string) => join(directory, name)
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'ignore' })
  const pem = (name: string) => readFileSync(at(name), 'utf8').trim().replaceAll('\n', '\\n')
  openssl(
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-keyout',
    at('key.pem'),
    '-out',
    at('cert.pem'),
    '-days',
    '1',
    '-subj',
    '/CN=127.0.0.1',
    '-addext',
    'subjectAltName=IP:127.0.0.1',
  )
  openssl('pkcs8', '-topk8', '-nocrypt', '-in', at('key.pem'), '-out', at('key8.pem'))
  const caCert = readFileSync(at('cert.pem'), 'utf8')
  const clientKey = readFileSync(at('key8.pem'), 'utf8')
  const stores = {
    'ssl.keystore.type': 'PEM',
    'ssl.keystore.certificate.chain': pem('cert.pem'),
    'ssl.keystore.key': pem('key8.pem'),
    'ssl.truststore.type': 'PEM',
    'ssl.truststore.certificates': pem('cert.pem'),
  }

  it('with a password over TLS, and says what is wrong when it cannot', limit, async () => {
    const server = await startKafka({
      settings: {
        listeners: 'SASL_SSL://{address},CONTROLLER://{controller}',
        'advertised.listeners': 'SASL_SSL://{address}',
        'listener.security.protocol.map': 'SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT',
        'inter.broker.listener.name': 'SASL_SSL',
        'sasl.enabled.mechanisms': 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512',
        'sasl.mechanism.inter.broker.protocol': 'PLAIN',
        'listener.name.sasl_ssl.plain.sasl.jaas.config': jaas(
          'plain.PlainLoginModule',
          `username="admin" password="secret" user_admin="secret" user_$ConnectionString="${EVENT_HUBS}"`,
        ),
        'listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config': jaas('scram.ScramLoginModule'),
        'listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config': jaas('scram.ScramLoginModule'),
        ...stores,
      },
      format: ['--add-scram', 'SCRAM-SHA-256=[name=ann,password=pass]', '--add-scram', 'SCRAM-SHA-512=[name=ann,password=pass]'],
    })
    try {
      const base = { brokers: server.address, authType: 'password', caCert }
      await works('plain', { ...base, saslUsername: 'admin', saslPassword: 'secret' })
      await works('event-hubs', { ...base, saslUsername: '$ConnectionString', saslPassword: EVENT_HUBS })
      await works('scram-256', { ...base, saslMechanism: 'SHA-256', saslUsername: 'ann', saslPassword: 'pass' })
      await works('scram-512', { ...base, saslMechanism: 'SHA-512', saslUsername: 'ann', saslPassword: 'pass' })
      for (const saslMechanism of ['PLAINTEXT', 'SHA-512']) {
        await assert.rejects(open({ ...base, saslMechanism, saslUsername: 'ann', saslPassword: 'hidden' }), (error: Error) => {
          assert.match(error.message, /SASL_AUTHENTICATION_FAILED: the broker refuses the credentials/)
          assert.doesNotMatch(error.message, /hidden/)
          return true
        })
      }
      await assert.rejects(
        open({ ...base, caCert: '', saslUsername: 'admin', saslPassword: 'secret' }),
        /not signed by an authority that is trusted/,
      )
      await assert.rejects(open({ brokers: server.address, authType: 'none' }), /a broker that wants TLS or SASL does that: see authType/)
    } finally {
      await server.stop()
    }
  })

  it('with a client certificate, and with tokens', limit, async () => {
    const [secure, tokens] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`]
    // Kafka's own way to try tokens out: a JWT without a signature.
    const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
    const read = (text = '') => JSON.parse(Buffer.from(text, 'base64url').toString()) as Record<string, unknown>
    const signedByAnn = (form: URLSearchParams): boolean => {
      const [head, claims, signature] = (form.get('client_assertion') ?? '').split('.')
      if (!signature || !verify('sha256', Buffer.from(`${head}.${claims}`), caCert, Buffer.from(signature, 'base64url'))) return false
      const { iss, sub, aud, exp } = read(claims)
      assert.deepEqual(read(head), { alg: 'RS256', typ: 'JWT', kid: 'k1' })
      return iss === 'ann' && sub === 'ann' && aud === 'kafka' && Number(exp) * 1000 > Date.now()
    }
    const asked: string[] = []
    const issuer = createServer(async (request, response) => {
      const chunks: Buffer[] = []
      for await (const chunk of request) chunks.push(chunk as Buffer)
      asked.push(`${request.headers.authorization} ${Buffer.concat(chunks)}`)
      const form = new URLSearchParams(Buffer.concat(chunks).toString())
      const known = request.headers.authorization === `Basic ${Buffer.from('ann:pass').toString('base64')}`
      if (!known && !signedByAnn(form)) {
        response.statusCode = 401
        return response.end('{}')
      }
      const now = Math.floor(Date.now() / 1000)
      const access_token = `${part({ alg: 'none' })}.${part({ sub: 'ann', iat: now, exp: now + 3600 })}.`
      response.end(JSON.stringify({ access_token, expires_in: 3600 }))
    })
    issuer.listen(0, '127.0.0.1').unref()
    await once(issuer, 'listening')
    const server = await startKafka({
      settings: {
        listeners: `PLAINTEXT://{address},SSL://${secure},SASL_PLAINTEXT://${tokens},CONTROLLER://{controller}`,
        'advertised.listeners': `PLAINTEXT://{address},SSL://${secure},SASL_PLAINTEXT://${tokens}`,
        'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT',
        'ssl.client.auth': 'required',
        ...stores,
        'sasl.enabled.mechanisms': 'OAUTHBEARER',
        'listener.name.sasl_plaintext.oauthbearer.sasl.jaas.config': jaas(
          'oauthbearer.OAuthBearerLoginModule',
          'unsecuredLoginStringClaim_sub="admin"',
        ),
      },
    })
    try {
      const mtls = { brokers: secure, authType: 'mtls', caCert }
      await works('mtls', { ...mtls, clientCert: caCert, clientKey })
      await assert.rejects(open(mtls), /127\.0\.0\.1/)
      await assert.rejects(open({ ...mtls, clientCert: caCert }), /clientKey or clientCert is missing/)
      const oidc = {
        brokers: tokens,
        authType: 'oidc',
        disableTls: 'true',
        oidcTokenEndpoint: `http://127.0.0.1:${(issuer.address() as AddressInfo).port}/token`,
        oidcClientID: 'ann',
        oidcScopes: 'kafka,openid',
      }
      await works('oidc', { ...oidc, oidcClientSecret: 'pass' })
      assert.match(asked[0] ?? '', /grant_type=client_credentials&scope=kafka\+openid/)
      await assert.rejects(open({ ...oidc, oidcClientSecret: 'hidden' }), (error: Error) => {
        assert.match(error.message, /no token from .*: it answers 401; check oidcClientID/)
        assert.doesNotMatch(error.message, /hidden/)
        return true
      })
      const { oidcScopes: _, ...signed } = { ...oidc, authType: 'oidc_private_key_jwt', oidcClientAssertionCert: caCert }
      const assertion = { ...signed, oidcClientAssertionKey: clientKey, oidcKid: 'k1', oidcAudience: 'kafka' }
      await works('assertion', assertion)
      assert.match(asked.at(-1) ?? '', /^undefined grant_type=client_credentials&client_id=ann&.*&audience=kafka&scope=openid$/)
      await assert.rejects(open({ ...assertion, oidcAudience: 'other' }), /it answers 401; check oidcClientID, oidcClientAssertionKey/)
      await assert.rejects(open(signed), /missing oidcClientAssertionKey for authType 'oidc_private_key_jwt'/)
      await assert.rejects(open({ ...assertion, oidcClientAssertionKey: 'hidden' }), (error: Error) => {
        assert.match(error.message, /oidcClientAssertionKey: the given value is not an RSA private key/)
        assert.doesNotMatch(error.message, /hidden/)
        return true
      })
    } finally {
      issuer.closeAllConnections()
      issuer.close()
      await server.stop()
    }
  })
})

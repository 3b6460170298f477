import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { kafka, startKafka } from '../../../../test/servers/kafka.ts'
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

function counter() {
  const seen = new Map<string, number>()
  let wake: (() => void) | undefined
  return {
    seen,
    add(text: string) {
      seen.set(text, (seen.get(text) ?? 0) + 1)
      wake?.()
    },
    async until(done: () => boolean) {
      while (!done()) {
        const { promise, resolve } = Promise.withResolvers<void>()
        wake = resolve
        await promise
      }
    },
  }
}

describe('pubsub.kafka without its broker', { skip: kafka.available() ? false : 'Kafka is not on this machine' }, () => {
  it('waits a bounded time, says what is wrong, and goes on by itself', limit, async () => {
    const server = await startKafka()
    try {
      await using pubsub = await open({
        brokers: server.address,
        authType: 'none',
        writeTimeout: '1s',
        readTimeout: '2s',
        dialTimeout: '1s',
      })
      const box = counter()
      await using _subscription = await pubsub.subscribe('cut', {}, async ({ data }) => box.add(data.toString()))
      const acknowledged: string[] = []
      const send = async (text: string) => {
        await pubsub.publish({ topic: 'cut', data: Buffer.from(text), metadata: {} })
        acknowledged.push(text)
      }
      const untilSent = async (text: string) => {
        for (;;) {
          try {
            return await send(text)
          } catch {
            await new Promise((resolve) => setTimeout(resolve, 50))
          }
        }
      }
      const failsSoon = async (text: string, message: RegExp) => {
        const start = Date.now()
        await assert.rejects(send(text), message)
        assert.ok(Date.now() - start < 3000, `${Date.now() - start} ms`)
      }
      await send('before')
      await box.until(() => box.seen.has('before'))

      // It hangs: connections stay open, nothing is answered.
      server.signal('SIGSTOP')
      await failsSoon(
        'stalled',
        /^Error: orders cannot publish to topic cut: .*127\.0\.0\.1:\d+.*; start the broker or correct the metadata field brokers$/,
      )
      await assert.rejects(async () => pubsub.ping?.(AbortSignal.timeout(5000)), /127\.0\.0\.1/)
      server.signal('SIGCONT')
      await untilSent('resumed')
      const resumed = Date.now()
      await box.until(() => box.seen.has('resumed'))
      assert.ok(Date.now() - resumed < 5000, `delivery came back ${Date.now() - resumed} ms after publishing`)

      // It is gone, and comes back with its data.
      await server.kill()
      await failsSoon('gone', /orders cannot publish to topic cut: no connection to the broker at 127\.0\.0\.1:\d+/)
      const sending = untilSent('returned')
      await server.restart()
      await sending
      const returned = Date.now()
      await box.until(() => box.seen.has('returned'))
      assert.ok(Date.now() - returned < 5000, `delivery came back ${Date.now() - returned} ms after publishing`)
      await pubsub.ping?.(AbortSignal.timeout(5000))
      assert.deepEqual(
        acknowledged.filter((text) => !box.seen.has(text)),
        [],
      )
    } finally {
      await server.stop()
    }
  })

  it('closes at once while no broker answers', limit, async () => {
    const server = await startKafka()
    try {
      const pubsub = await open({ brokers: server.address, authType: 'none' })
      await pubsub.subscribe('closing', {}, async () => {})
      await server.kill()
      const publishing = assert.rejects(pubsub.publish({ topic: 'closing', data: Buffer.from('x'), metadata: {} }))
      const start = Date.now()
      await pubsub[Symbol.asyncDispose]()
      await publishing
      assert.ok(Date.now() - start < 5000, `${Date.now() - start} ms`)
    } finally {
      await server.stop()
    }
  })

  it('signs in with a password over TLS, and says what is wrong when it cannot', limit, async () => {
    const directory = mkdtempSync(join(tmpdir(), 'outrider-kafka-tls-'))
    const at = (name: string) => join(directory, name)
    const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'ignore' })
    const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '1']
    openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', at('key.pem'), '-out', at('cert.pem'), ...subject)
    openssl('pkcs8', '-topk8', '-nocrypt', '-in', at('key.pem'), '-out', at('key8.pem'))
    const pem = (name: string) => readFileSync(at(name), 'utf8').trim().replaceAll('\n', '\\n')
    const jaas = (module: string, users = '') => `org.apache.kafka.common.security.${module} required ${users};`
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
          'username="admin" password="secret" user_admin="secret"',
        ),
        'listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config': jaas('scram.ScramLoginModule'),
        'listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config': jaas('scram.ScramLoginModule'),
        'ssl.keystore.type': 'PEM',
        'ssl.keystore.certificate.chain': pem('cert.pem'),
        'ssl.keystore.key': pem('key8.pem'),
        'ssl.truststore.type': 'PEM',
        'ssl.truststore.certificates': pem('cert.pem'),
      },
      format: ['--add-scram', 'SCRAM-SHA-256=[name=ann,password=pass]', '--add-scram', 'SCRAM-SHA-512=[name=ann,password=pass]'],
    })
    try {
      const caCert = readFileSync(at('cert.pem'), 'utf8')
      const base = { brokers: server.address, authType: 'password', caCert }
      for (const [saslMechanism, saslUsername, saslPassword] of [
        ['PLAINTEXT', 'admin', 'secret'],
        ['SHA-256', 'ann', 'pass'],
        ['SHA-512', 'ann', 'pass'],
      ] as const) {
        await using pubsub = await open({ ...base, saslMechanism, saslUsername, saslPassword })
        const box = counter()
        await using _subscription = await pubsub.subscribe(`tls-${saslMechanism}`, {}, async ({ data }) => box.add(data.toString()))
        await pubsub.publish({ topic: `tls-${saslMechanism}`, data: Buffer.from('x'), metadata: {} })
        await box.until(() => box.seen.has('x'))
      }
      for (const saslMechanism of ['PLAINTEXT', 'SHA-512']) {
        await assert.rejects(open({ ...base, saslMechanism, saslUsername: 'ann', saslPassword: 'hidden' }), (error: Error) => {
          assert.match(error.message, /SASL_AUTHENTICATION_FAILED: the broker refuses the credentials/)
          assert.doesNotMatch(error.message, /hidden/)
          return true
        })
      }
      await assert.rejects(open({ ...base, caCert: '', saslUsername: 'admin', saslPassword: 'secret' }), /self-signed certificate/)
      await assert.rejects(open({ brokers: server.address, authType: 'none' }), /a broker that wants TLS or SASL does that: see authType/)
    } finally {
      await server.stop()
      rmSync(directory, { recursive: true, force: true })
    }
  })
})

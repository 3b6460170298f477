import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { type TestCertificate, testAuthority } from '../../test/servers/certificates.ts'
import { etcd, startEtcd } from '../../test/servers/etcd.ts'
import { mosquitto, startMosquitto } from '../../test/servers/mosquitto.ts'
import { nats, startNats } from '../../test/servers/nats.ts'
import { freePort } from '../../test/servers/process.ts'
import { startProxy } from '../../test/servers/proxy.ts'
import { redis, startRedis } from '../../test/servers/redis.ts'
import type { RunningServer, ServerKind } from '../../test/servers/server.ts'
import type { PubSub } from '../blocks/pubsub/driver.ts'
import type { StateStore } from '../blocks/state/driver.ts'
import { createLogger } from '../telemetry/log.ts'
import { pubsubDrivers } from './pubsub/registry.ts'
import { makeStream } from './pubsub/testing/stream.ts'
import { stateDrivers } from './state/registry.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const [trusted, other] = [testAuthority(), testAuthority()]
const folder = mkdtempSync(join(tmpdir(), 'outrider-client-certificates-'))
// The servers are other users.
chmodSync(folder, 0o755)
after(() => rmSync(folder, { recursive: true, force: true }))
setDefaultCACertificates([...getCACertificates('default'), trusted.ca])

function write(name: string, text: string): string {
  const file = join(folder, name)
  writeFileSync(file, text)
  chmodSync(file, 0o644)
  return file
}
const own = trusted.issue('localhost')
const [ca, cert, key] = [write('ca.pem', trusted.ca), write('cert.pem', own.cert), write('key.pem', own.key)]

interface Kind {
  type: string
  server: ServerKind
  /** A server that wants to see a certificate of `trusted`. */
  start(): Promise<RunningServer>
  properties(port: string, client: TestCertificate): Record<string, string>
  /** The fields that hold it. */
  fields: string
  prepare?(port: string): Promise<void>
}

const KINDS: readonly Kind[] = [
  {
    type: 'state.redis',
    server: redis,
    async start() {
      const port = await freePort()
      const files = ['--tls-cert-file', cert, '--tls-key-file', key, '--tls-ca-cert-file', ca]
      const server = await startRedis(await freePort(), ['--tls-port', String(port), ...files])
      return { address: `127.0.0.1:${port}`, stop: server.stop }
    },
    properties: (port, client) => ({
      redisHost: `localhost:${port}`,
      enableTLS: 'true',
      clientCert: client.cert,
      clientKey: client.key,
      redisMaxRetries: '1',
    }),
    fields: 'clientCert and clientKey',
  },
  {
    type: 'pubsub.mqtt3',
    server: mosquitto,
    start: () => startMosquitto(`allow_anonymous true\ncafile ${ca}\ncertfile ${cert}\nkeyfile ${key}\nrequire_certificate true\n`),
    properties: (port, client) => ({
      url: `mqtts://localhost:${port}`,
      consumerID: `client${process.pid}`,
      caCert: trusted.ca,
      clientCert: client.cert,
      clientKey: client.key,
      writeTimeout: '2s',
    }),
    fields: 'clientCert and clientKey',
  },
  {
    type: 'pubsub.jetstream',
    server: nats,
    start: () =>
      startNats(
        `tls { cert_file: ${JSON.stringify(cert)}, key_file: ${JSON.stringify(key)}, ca_file: ${JSON.stringify(ca)}, verify: true }`,
      ),
    properties: (port, client) => ({
      natsURL: `tls://localhost:${port}`,
      tls_client_cert: write('nats-cert.pem', client.cert),
      tls_client_key: write('nats-key.pem', client.key),
      publishTimeout: '500ms',
    }),
    fields: 'tls_client_cert and tls_client_key',
    prepare: (port) => makeStream(`localhost:${port}`, 'client', ['client'], trusted.issue('client')),
  },
  {
    type: 'state.etcd',
    server: etcd,
    start: () =>
      startEtcd([
        '--listen-client-urls=https://{client}',
        '--advertise-client-urls=https://{client}',
        `--cert-file=${cert}`,
        `--key-file=${key}`,
        `--trusted-ca-file=${ca}`,
        '--client-cert-auth',
      ]),
    properties: (port, client) => ({
      endpoints: `localhost:${port}`,
      tlsEnable: 'true',
      ca: trusted.ca,
      cert: client.cert,
      key: client.key,
    }),
    fields: 'cert and key',
  },
]

async function used(type: string, properties: Record<string, string>): Promise<AsyncDisposable & { use(): Promise<unknown> }> {
  const row = [...stateDrivers, ...pubsubDrivers].find((candidate) => candidate.type === type)
  const component = (await row?.load())?.create({ name: 'orders', type, version: 'v1', properties, appId: 'test', namespace: '', log }) as
    | StateStore
    | PubSub
  const use = () =>
    'publish' in component
      ? component.publish({ topic: 'client', data: Buffer.from('x'), metadata: {} })
      : component.set({ kind: 'upsert', key: 'client', value: Buffer.from('1'), json: true, metadata: {} })
  try {
    await component.init(AbortSignal.timeout(10_000))
  } catch (error) {
    await component[Symbol.asyncDispose]()
    throw error
  }
  return { use, [Symbol.asyncDispose]: async () => component[Symbol.asyncDispose]() }
}

async function attempt(type: string, properties: Record<string, string>): Promise<void> {
  await using component = await used(type, properties)
  await component.use()
}

describe('a client certificate that the server does not take', { concurrency: 2 }, () => {
  for (const { type, server: kind, start, properties, fields, prepare } of KINDS)
    it(`${type}: of another authority and expired, each told with the fields to correct`, { timeout: 60_000 }, async (context) => {
      if (!kind.available()) {
        assert.notEqual(process.env.OUTRIDER_REQUIRE_SERVERS, '1', `${kind.name} is not on this machine`)
        return context.skip(`no ${kind.name} on this machine`)
      }
      const server = await start()
      try {
        const port = server.address.split(':').at(-1) as string
        await prepare?.(port)
        const advice = (what: string) =>
          new RegExp(`the server refuses our client certificate: .*${what}.*correct the metadata fields ${fields}`, 'is')
        await assert.rejects(
          attempt(type, properties(port, other.issue('client'))),
          advice('(unknown ca|bad certificate|certificate unknown)'),
          'another authority',
        )
        await assert.rejects(
          attempt(type, properties(port, trusted.issue('client', -24))),
          advice('(expired|bad certificate|certificate unknown)'),
          'expired',
        )
        await attempt(type, properties(port, trusted.issue('client')))
      } finally {
        await server.stop()
      }
    })

  it('pubsub.jetstream: files that are replaced are used for the next connection, without a restart', {
    timeout: 60_000,
  }, async (context) => {
    if (!nats.available()) return context.skip('no NATS on this machine')
    const tls = (authority: string) => `tls { cert_file: "${cert}", key_file: "${key}", ca_file: "${authority}", verify: true }`
    const server = await startNats(tls(ca))
    try {
      const port = server.address.split(':').at(-1) as string
      await makeStream(`localhost:${port}`, 'client', ['client'], trusted.issue('client'))
      await using proxy = await startProxy('127.0.0.1', Number(port))
      const give = ({ cert, key }: TestCertificate) => ({
        tls_client_cert: write('rotated-cert.pem', cert),
        tls_client_key: write('rotated-key.pem', key),
      })
      const properties = { natsURL: `tls://localhost:${proxy.port}`, publishTimeout: '500ms', ...give(trusted.issue('client')) }
      await using component = await used('pubsub.jetstream', properties)
      await component.use()
      await server.reload(tls(write('other.pem', other.ca)))
      proxy.cut()
      proxy.heal()
      const until = async (done: (error: unknown) => boolean) => {
        for (;;) {
          const error = await component.use().catch((thrown: unknown) => thrown)
          if (done(error)) return
          await pause(20)
        }
      }
      await until((error) => /the server refuses our client certificate.*correct the metadata fields tls_client_cert/.test(String(error)))
      give(other.issue('client'))
      await until((error) => error === undefined)
    } finally {
      await server.stop()
    }
  })
})

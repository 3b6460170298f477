import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { createConnection } from 'mysql2/promise'
import { type TestCertificate, testAuthority } from '../../test/servers/certificates.ts'
import { etcd } from '../../test/servers/etcd.ts'
import { kafka } from '../../test/servers/kafka.ts'
import { mariadb, startMariadb } from '../../test/servers/mariadb.ts'
import { mosquitto } from '../../test/servers/mosquitto.ts'
import { mysql, startMysql } from '../../test/servers/mysql.ts'
import { nats } from '../../test/servers/nats.ts'
import { postgres } from '../../test/servers/postgres.ts'
import { rabbitmq } from '../../test/servers/rabbitmq.ts'
import { redis } from '../../test/servers/redis.ts'
import { type ServerKind, serverOf } from '../../test/servers/server.ts'
import { type Prelude, startTlsFront } from '../../test/servers/tls-front.ts'
import type { PubSub } from '../blocks/pubsub/driver.ts'
import type { StateStore } from '../blocks/state/driver.ts'
import { createLogger } from '../telemetry/log.ts'
import { pubsubDrivers } from './pubsub/registry.ts'
import { makeStream } from './pubsub/testing/stream.ts'
import { stateDrivers } from './state/registry.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const [trusted, other] = [testAuthority(), testAuthority()]
const folder = mkdtempSync(join(tmpdir(), 'outrider-tls-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const caFile = join(folder, 'ca.pem')
writeFileSync(caFile, trusted.ca)
// For drivers that trust whom the system trusts.
setDefaultCACertificates([...getCACertificates('default'), trusted.ca])

interface Kind {
  type: string
  version?: string
  server: ServerKind
  prelude?: Prelude
  /** Settings that reach the server through the front; waits are short. */
  properties(port: number): Record<string, string>
  prepare?(address: string): Promise<void>
  /** What an untrusted certificate leads to: the field to set. */
  field: RegExp
  /** A broker sends its clients on to its own address, which speaks no TLS: only the refusals can be seen. */
  refusalsOnly?: true
}

const client = trusted.issue('client')
const topic = `tls${process.pid}`
const SYSTEM = /SSL_CERT_FILE/
const KINDS: readonly Kind[] = [
  {
    type: 'state.redis',
    server: redis,
    properties: (port) => ({ redisHost: `localhost:${port}`, enableTLS: 'true' }),
    field: SYSTEM,
  },
  {
    type: 'pubsub.redis',
    server: redis,
    properties: (port) => ({ redisHost: `localhost:${port}`, enableTLS: 'true' }),
    field: SYSTEM,
  },
  {
    type: 'state.postgresql',
    version: 'v2',
    server: postgres,
    prelude: 'postgres',
    properties: (port) => ({
      connectionString: `postgres://postgres@localhost:${port}/postgres?sslmode=verify-full`,
      sslRootCert: caFile,
      tablePrefix: `tls${process.pid}_`,
    }),
    field: /metadata field sslRootCert/,
  },
  {
    type: 'state.etcd',
    server: etcd,
    properties: (port) => ({ endpoints: `localhost:${port}`, tlsEnable: 'true', ca: trusted.ca, cert: client.cert, key: client.key }),
    field: /metadata field ca\b/,
  },
  {
    type: 'pubsub.rabbitmq',
    server: rabbitmq,
    properties: (port) => ({ connectionString: `amqps://guest:guest@localhost:${port}`, caCert: trusted.ca, publishTimeout: '300ms' }),
    field: /metadata field caCert/,
  },
  {
    type: 'pubsub.jetstream',
    server: nats,
    prelude: 'nats',
    prepare: (address) => makeStream(address, topic, [topic]),
    properties: (port) => ({ natsURL: `tls://localhost:${port}`, publishTimeout: '300ms' }),
    field: SYSTEM,
  },
  {
    type: 'pubsub.mqtt3',
    server: mosquitto,
    properties: (port) => ({ url: `mqtts://localhost:${port}`, consumerID: topic, caCert: trusted.ca, writeTimeout: '3s' }),
    field: /metadata field caCert/,
  },
  {
    type: 'pubsub.kafka',
    server: kafka,
    properties: (port) => ({ brokers: `localhost:${port}`, authType: 'certificate', caCert: trusted.ca }),
    field: /metadata field caCert/,
    refusalsOnly: true,
  },
]

const MYSQLS = [
  { kind: mariadb, start: startMariadb, reload: 'FLUSH SSL' },
  { kind: mysql, start: startMysql, reload: 'ALTER INSTANCE RELOAD TLS' },
]

type Used = { init(signal: AbortSignal): Promise<void>; use(): Promise<unknown> } & AsyncDisposable

async function make(type: string, version: string, properties: Record<string, string>): Promise<Used> {
  const row = [...stateDrivers, ...pubsubDrivers].find((candidate) => candidate.type === type)
  assert.ok(row)
  const component = (await row.load()).create({ name: 'orders', type, version, properties, appId: 'test', namespace: '', log })
  const used = component as StateStore | PubSub
  return {
    init: (signal) => component.init(signal),
    use: async () =>
      'publish' in used
        ? used.publish({ topic, data: Buffer.from('x'), metadata: {} })
        : used.set({ kind: 'upsert', key: topic, value: Buffer.from('1'), json: true, metadata: {} }),
    [Symbol.asyncDispose]: async () => component[Symbol.asyncDispose](),
  }
}

/** Init, or the first use of one that starts without its server, is refused so. */
async function refused(type: string, version: string, properties: Record<string, string>, message: RegExp, label: string): Promise<void> {
  await using component = await make(type, version, properties)
  await assert.rejects(
    component.init(AbortSignal.timeout(10_000)).then(() => component.use()),
    message,
    label,
  )
}

/** The certificate becomes bad while the component is in use, and good again: told, and back without a restart. */
async function comesBack(
  component: Used,
  show: (certificate: TestCertificate) => Promise<void> | void,
  expire: () => Promise<void> | void = () => show(trusted.issue('localhost', -24)),
): Promise<void> {
  await component.use()
  await expire()
  for (let told = false; !told; await pause(10)) {
    try {
      await component.use()
    } catch (error) {
      // The first ones may hear of the broken connection only.
      told = /certificate has expired.*renew it at the server/s.test(String(error))
    }
  }
  await show(trusted.issue('localhost'))
  const began = performance.now()
  for (;;) {
    const error = await component.use().then(
      () => undefined,
      (thrown: unknown) => thrown,
    )
    if (!error) break
    // Some 5 s; a machine that is busy with other tests needs more.
    assert.ok(performance.now() - began < 15_000, `not back: ${error}`)
    await pause(20)
  }
}

describe('a certificate that is not right', { concurrency: true }, () => {
  for (const { type, version = 'v1', server: kind, prelude, properties, prepare, field, refusalsOnly } of KINDS)
    it(`${type} says what is wrong with it and what to do, and is back when it is mended`, { timeout: 60_000 }, async (context) => {
      const server = await serverOf(kind)
      if (!server) return context.skip(`no ${kind.name} on this machine`)
      try {
        const { hostname, port } = new URL(server.address.includes('://') ? server.address : `tcp://${server.address}`)
        await prepare?.(server.address)
        await using front = await startTlsFront(hostname, Number(port), other.issue('localhost'), prelude)
        const settings = properties(front.port)
        const place = `localhost:${front.port}.*`
        await refused(
          type,
          version,
          settings,
          new RegExp(`${place}not signed by an authority that is trusted.*${field.source}`, 's'),
          'untrusted',
        )
        front.show(trusted.issue('localhost', -24))
        await refused(type, version, settings, new RegExp(`${place}certificate has expired.*renew it at the server`, 's'), 'expired')
        front.show(trusted.issue('elsewhere.test'))
        await refused(type, version, settings, new RegExp(`${place}is for elsewhere\\.test and not for localhost`, 's'), 'another name')
        front.show(trusted.issue('localhost'))
        if (refusalsOnly) return
        await using component = await make(type, version, settings)
        await component.init(AbortSignal.timeout(10_000))
        await comesBack(component, (certificate) => front.show(certificate))
      } finally {
        await server.stop()
      }
    })

  for (const { kind, start, reload } of MYSQLS)
    it(`state.mysql (${kind.name}) says what is wrong with it and what to do, and reads the authorities anew`, {
      timeout: 60_000,
    }, async (context) => {
      if (!kind.available()) {
        assert.notEqual(process.env.OUTRIDER_REQUIRE_SERVERS, '1', `no ${kind.name} on this machine`)
        return context.skip(`no ${kind.name} on this machine`)
      }
      const file = (name: string) => join(folder, `${kind.name}-${name}.pem`)
      const [cert, key, ca, issuers] = [file('cert'), file('key'), file('ca'), file('issuers')]
      const write = (certificate: TestCertificate) => {
        writeFileSync(cert, certificate.cert)
        writeFileSync(key, certificate.key)
      }
      write(other.issue('localhost'))
      writeFileSync(ca, trusted.ca)
      // MySQL shows a certificate only if it knows who issued it.
      writeFileSync(issuers, trusted.ca + other.ca)
      // The server is another user.
      chmodSync(folder, 0o755)
      const server = await start([`--ssl-cert=${cert}`, `--ssl-key=${key}`, `--ssl-ca=${issuers}`])
      try {
        const { hostname, port, username: user, password } = new URL(server.address)
        const admin = await createConnection({ host: hostname, port: Number(port), user, password })
        const cut = async () => {
          const [rows] = await admin.query('SELECT id FROM information_schema.processlist WHERE id <> connection_id() AND user = ?', [user])
          for (const { id } of rows as { id: number }[]) await admin.query(`KILL ${id}`).catch(() => {})
        }
        const show = async (certificate: TestCertificate) => {
          write(certificate)
          await admin.query(reload)
          await cut()
        }
        // MySQL loads none that has expired: one does while the server has it.
        const expire = async () => {
          const certificate = trusted.issue('localhost', 3 / 3600)
          await show(certificate)
          await pause(new X509Certificate(certificate.cert).validToDate.getTime() + 1000 - Date.now())
          await cut()
        }
        const settings = { connectionString: `${user}:${password}@tcp(localhost:${port})/?tls=custom`, pemPath: ca, schemaName: 'tls' }
        await refused('state.mysql', 'v1', settings, /not signed by an authority that is trusted.*metadata field pemPath/s, 'untrusted')
        await show(trusted.issue('elsewhere.test'))
        await refused('state.mysql', 'v1', settings, /is for elsewhere\.test and not for localhost/, 'another name')
        await show(trusted.issue('localhost'))
        await using component = await make('state.mysql', 'v1', settings)
        await component.init(AbortSignal.timeout(10_000))
        await comesBack(component, show, expire)
        // Another authority in the same file: no restart.
        await show(other.issue('localhost'))
        await assert.rejects(component.use(), /not signed by an authority|closed|lost/i)
        writeFileSync(ca, other.ca)
        for (const end = performance.now() + 15_000; ; await pause(20)) {
          const error = await component.use().catch((thrown: unknown) => thrown)
          if (!error) break
          assert.ok(performance.now() < end, `not back: ${error}`)
        }
        await admin.end()
      } finally {
        await server.stop()
      }
    })
})

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { appendFileSync, chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { createConnection } from 'mysql2/promise'
import pg from 'pg'
import { makeStream } from '../src/components/pubsub/testing/stream.ts'
import { RedisConnection } from '../src/components/redis/connection.ts'
import { kafka, startKafka } from './servers/kafka.ts'
import { mariadb } from './servers/mariadb.ts'
import { mosquitto, startMosquitto } from './servers/mosquitto.ts'
import { mysql } from './servers/mysql.ts'
import { nats, startNats } from './servers/nats.ts'
import { postgres } from './servers/postgres.ts'
import { freePort } from './servers/process.ts'
import { rabbitmq, startRabbitmq } from './servers/rabbitmq.ts'
import { redis } from './servers/redis.ts'
import { type RunningServer, type ServerKind, serverOf } from './servers/server.ts'
import { type SidecarProcess, startApp, startSidecar } from './sidecar.ts'

// Passwords change at the server while the real sidecar runs: it says so, and goes on with the new ones without a restart.
const root = mkdtempSync(join(tmpdir(), 'outrider-credentials-'))
after(() => rmSync(root, { recursive: true, force: true }))

interface Server {
  /** Settings besides the one that is secret. */
  properties: Readonly<Record<string, string>>
  /** The secret setting, and its value with a password. */
  field: string
  secret(password: string): string
  /** Another password, and nobody is signed in any more. */
  rotate(password: string): Promise<void>
  stop(): Promise<void>
}

interface Kind {
  type: string
  version?: string
  server: ServerKind
  start(): Promise<Server>
  /** What callers read while they have the old password. */
  told: RegExp
  /** Also by a change of the component's own YAML, without a secret store. */
  byYaml?: true
}

let made = 0
/** A name that nobody else has on a server that is shared: two of these tests may run at once. */
const own = (name: string) => `${name}${process.pid}x${made++}`

const KINDS: readonly Kind[] = [
  {
    type: 'state.redis',
    server: redis,
    start: startOwnRedis,
    told: /refuses the login: WRONGPASS.*correct redisUsername and redisPassword/,
  },
  {
    type: 'pubsub.redis',
    server: redis,
    start: startOwnRedis,
    told: /refuses the login: WRONGPASS.*correct redisUsername and redisPassword/,
  },
  {
    type: 'state.postgresql',
    version: 'v2',
    server: postgres,
    byYaml: true,
    told: /password authentication failed.*correct user and password of the component/,
    async start() {
      const server = await postgres.start()
      const admin = new pg.Client({ connectionString: server.address })
      await admin.connect()
      await admin.query('CREATE ROLE app SUPERUSER LOGIN')
      const { hba_file } = (await admin.query<{ hba_file: string }>('SHOW hba_file')).rows[0] as { hba_file: string }
      const rules = readFileSync(hba_file, 'utf8')
      writeFileSync(hba_file, 'host all app 127.0.0.1/32 scram-sha-256\n')
      appendFileSync(hba_file, rules)
      await admin.query('SELECT pg_reload_conf()')
      const { host } = new URL(server.address)
      return {
        properties: {},
        field: 'connectionString',
        secret: (password) => `postgres://app:${password}@${host}/postgres`,
        async rotate(password) {
          await admin.query(`ALTER ROLE app PASSWORD '${password}'`)
          await admin.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'")
        },
        async stop() {
          await admin.end()
          await server.stop()
        },
      }
    },
  },
  ...[mariadb, mysql].map(mysqlKind),
  {
    type: 'pubsub.rabbitmq',
    server: rabbitmq,
    told: /refuses the login of user guest: check username and password/,
    async start() {
      const server = await startRabbitmq()
      const { host } = new URL(server.address)
      return {
        properties: { deletedWhenUnused: 'false', deliveryMode: '2', publishTimeout: '500ms' },
        field: 'connectionString',
        secret: (password) => `amqp://guest:${password}@${host}`,
        async rotate(password) {
          await server.control('change_password', 'guest', password)
          await server.control('close_all_connections', 'the password has changed')
        },
        stop: () => server.stop(),
      }
    },
  },
  {
    type: 'pubsub.jetstream',
    server: nats,
    told: /refuses the login: check token, jwt and seedKey, or the user in natsURL/,
    async start() {
      const users = (password: string) =>
        `authorization { users: [ {user: admin, password: admin}, {user: app, password: ${JSON.stringify(password)}} ] }`
      const server = await startNats(users('nothing yet'))
      const { host } = new URL(server.address)
      await makeStream(`admin:admin@${host}`, 'credentials', ['events'])
      return {
        properties: { durableName: 'credentials', queueGroupName: 'credentials', publishTimeout: '500ms' },
        field: 'natsURL',
        secret: (password) => `nats://app:${password}@${host}`,
        rotate: (password) => server.reload(users(password)),
        stop: () => server.stop(),
      }
    },
  },
  {
    type: 'pubsub.mqtt3',
    server: mosquitto,
    told: /does not let (us|this user) in.*correct .*in url/,
    async start() {
      const passwords = (directory: string, password: string) => {
        const file = join(directory, 'passwords')
        execFileSync('mosquitto_passwd', ['-b', ...(existsSync(file) ? [] : ['-c']), file, 'app', password], { stdio: 'ignore' })
        chmodSync(file, 0o644)
      }
      const server = await startMosquitto('allow_anonymous false\npassword_file passwords\n', (directory) =>
        passwords(directory, 'nothing yet'),
      )
      const { host } = new URL(server.address)
      return {
        properties: { consumerID: own('credentials'), cleanSession: 'false', qos: '1', writeTimeout: '500ms' },
        field: 'url',
        secret: (password) => `mqtt://app:${password}@${host}`,
        async rotate(password) {
          passwords(server.directory, password)
          server.reload()
        },
        stop: () => server.stop(),
      }
    },
  },
  {
    type: 'pubsub.kafka',
    server: kafka,
    told: /SASL_AUTHENTICATION_FAILED/,
    async start() {
      const open = `127.0.0.1:${await freePort()}`
      const server = await startKafka({
        settings: {
          listeners: `SASL_PLAINTEXT://{address},PLAINTEXT://${open},CONTROLLER://{controller}`,
          'advertised.listeners': `SASL_PLAINTEXT://{address},PLAINTEXT://${open}`,
          'listener.security.protocol.map': 'SASL_PLAINTEXT:SASL_PLAINTEXT,PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
          'inter.broker.listener.name': 'PLAINTEXT',
          'sasl.enabled.mechanisms': 'SCRAM-SHA-512',
          'listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config':
            'org.apache.kafka.common.security.scram.ScramLoginModule required;',
          // Who is signed in stays so else until the connection ends.
          'connections.max.reauth.ms': '2000',
        },
      })
      const user = ['--entity-type', 'users', '--entity-name', 'app']
      return {
        properties: {
          brokers: server.address,
          authType: 'password',
          disableTls: 'true',
          saslMechanism: 'SHA-512',
          saslUsername: 'app',
          initialOffset: 'oldest',
          writeTimeout: '1s',
        },
        field: 'saslPassword',
        secret: (password) => password,
        rotate: (password) => server.configure(open, '--alter', '--add-config', `SCRAM-SHA-512=[password=${password}]`, ...user),
        stop: () => server.stop(),
      }
    },
  },
]

function mysqlKind(kind: ServerKind): Kind {
  return {
    type: 'state.mysql',
    server: kind,
    byYaml: true,
    told: /Access denied.*correct user and password in connectionString/,
    async start() {
      const server = (await serverOf(kind)) as RunningServer
      const { hostname, port, username, password: rootPassword } = new URL(server.address)
      const admin = await createConnection({ host: hostname, port: Number(port), user: username, password: rootPassword })
      const [user, schema] = [own('app'), own('credentials')]
      await admin.query(`CREATE DATABASE IF NOT EXISTS ${schema}`)
      await admin.query(`CREATE USER IF NOT EXISTS ${user}`)
      await admin.query(`GRANT ALL ON *.* TO ${user}`)
      return {
        properties: { schemaName: schema },
        field: 'connectionString',
        secret: (password) => `${user}:${password}@tcp(${hostname}:${port})/?allowNativePasswords=true`,
        async rotate(password) {
          await admin.query(`ALTER USER ${user} IDENTIFIED BY '${password}'`)
          const [sessions] = await admin.query('SELECT id FROM information_schema.processlist WHERE user = ?', [user])
          // One may have ended by itself.
          for (const { id } of sessions as { id: number }[]) await admin.query(`KILL ${id}`).catch(() => {})
        },
        async stop() {
          await admin.query(`DROP DATABASE IF EXISTS ${schema}`)
          await admin.query(`DROP USER IF EXISTS ${user}`)
          await admin.end()
          await server.stop()
        },
      }
    },
  }
}

async function startOwnRedis(): Promise<Server> {
  const server = await redis.start()
  const [host, port] = server.address.split(':') as [string, string]
  const admin = new RedisConnection({ host, port: Number(port) })
  await admin.connect()
  return {
    properties: { redisHost: server.address, redeliverInterval: '500ms', processingTimeout: '1s' },
    field: 'redisPassword',
    secret: (password) => password,
    async rotate(password) {
      await admin.call('CONFIG', 'SET', 'requirepass', password)
      await admin.call('CLIENT', 'KILL', 'SKIPME', 'yes')
    },
    async stop() {
      admin.disconnect()
      await server.stop()
    },
  }
}

/** Works, loses its credentials, tells of it, gets new ones, works; all that was acknowledged on the way is there. */
async function survives({ type, version = 'v1', told }: Kind, server: Server, viaSecret: boolean): Promise<void> {
  const block = type.split('.')[0] as string
  // The app subscribes to a component of this name.
  const name = block === 'pubsub' ? 'pubsub' : 'store'
  const folder = join(root, own(`${type}-`))
  const [resources, secrets] = [join(folder, 'resources'), join(folder, 'secrets.json')]
  mkdirSync(resources, { recursive: true })
  const write = (resource: string, spec: object, more: object = {}) => {
    const text = JSON.stringify({ apiVersion: 'dapr.io/v1alpha1', kind: 'Component', metadata: { name: resource }, spec, ...more })
    writeFileSync(join(resources, `${resource}.yaml`), text)
  }
  const metadata = Object.entries(server.properties).map(([field, value]) => ({ name: field, value }))
  const give = (password: string) => {
    const value = server.secret(password)
    if (viaSecret) writeFileSync(secrets, JSON.stringify({ secret: value }))
    else write(name, { type, version, metadata: [...metadata, { name: server.field, value }] })
  }
  if (viaSecret) {
    write('vault', { type: 'secretstores.local.file', version: 'v1', metadata: [{ name: 'secretsFile', value: secrets }] })
    const secret = { name: server.field, secretKeyRef: { name: 'secret', key: 'secret' } }
    write(name, { type, version, metadata: [...metadata, secret] }, { auth: { secretStore: 'vault' } })
  }
  const [first, second] = [`first${process.pid}`, `second${process.pid}`]
  give(first)
  await server.rotate(first)
  await using app = await startApp({ events: '/events' })
  const appId = own(`credentials-${type.replace('.', '-')}-`)
  await using sidecar = await startSidecar({ appId, dataDir: folder, resources, ...(block === 'pubsub' ? { appPort: app.port } : {}) })
  const acknowledged: number[] = []
  let number = 0
  const use = async () => {
    number++
    const [path, body] = block === 'pubsub' ? ['publish/pubsub/events', number] : ['state/store', [{ key: `k${number}`, value: number }]]
    const headers = { 'content-type': 'application/json' }
    const answer = await fetch(`${sidecar.http}/v1.0/${path}`, { method: 'POST', headers, body: JSON.stringify(body) })
    if (answer.status === 204) acknowledged.push(number)
    return { status: answer.status, text: await answer.text() }
  }
  for (let count = 0; count < 20; count++) assert.deepEqual(await use(), { status: 204, text: '' })

  await server.rotate(second)
  let last = ''
  await until(
    async () => {
      const { status, text } = await use()
      last = text
      assert.ok(!text.includes(first))
      return status === 500 && told.test(text)
    },
    () => `callers read why: ${last}`,
  )
  await until(
    async () => new RegExp(`"name":"${name}"[^}]*"state":"retrying"`).test(await health(sidecar)),
    () => 'health tells',
  )
  assert.ok(!sidecar.log().includes(first), 'the log does not show the password')

  give(second)
  // Secrets are read anew by themselves once a minute; asked, at once.
  if (viaSecret) process.kill(sidecar.pid, 'SIGHUP')
  await until(
    async () => {
      const { status, text } = await use()
      last = text
      return status === 204
    },
    () => `back: ${last}`,
  )
  await until(
    async () => new RegExp(`"name":"${name}"[^}]*"state":"up"`).test(await health(sidecar)),
    () => 'health is well',
  )
  if (block === 'pubsub')
    await until(
      async () => acknowledged.every((one) => app.events('/events').has(String(one))),
      () => `all that was acknowledged came: ${acknowledged.filter((one) => !app.events('/events').has(String(one)))}`,
      30_000,
    )
  else for (const one of acknowledged) assert.equal(await (await fetch(`${sidecar.http}/v1.0/state/store/k${one}`)).text(), String(one))
}

async function health(sidecar: SidecarProcess): Promise<string> {
  return (await fetch(`${sidecar.http}/v1.0/healthz?verbose`)).text()
}

async function until(done: () => Promise<boolean>, what: () => string, limit = 20_000): Promise<void> {
  for (const end = performance.now() + limit; !(await done()); await pause(20)) assert.ok(performance.now() < end, `not in time: ${what()}`)
}

describe('a password that changes at the server', { concurrency: 3 }, () => {
  for (const kind of KINDS)
    for (const viaSecret of kind.byYaml ? [true, false] : [true])
      it(`${kind.type} (${kind.server.name}), by ${viaSecret ? 'a secret' : 'its YAML'}`, { timeout: 120_000 }, async (context) => {
        if (!kind.server.available()) {
          assert.notEqual(process.env.OUTRIDER_REQUIRE_SERVERS, '1', `${kind.server.name} is not on this machine`)
          return context.skip(`no ${kind.server.name} on this machine`)
        }
        const server = await kind.start()
        try {
          await survives(kind, server, viaSecret)
        } finally {
          await server.stop()
        }
      })
})

import assert from 'node:assert/strict'
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import mysql from 'mysql2/promise'
import pg from 'pg'
import { RedisConnection } from '../src/components/redis/connection.ts'
import { mariadb } from './servers/mariadb.ts'
import { postgres } from './servers/postgres.ts'
import { redis } from './servers/redis.ts'
import { ownServer, serverOf } from './servers/server.ts'
import { type SidecarProcess, startSidecar } from './sidecar.ts'

// Passwords change at the server while the real sidecar runs: it says so, and goes on with the new ones without a restart.
const root = mkdtempSync(join(tmpdir(), 'outrider-credentials-'))
after(() => rmSync(root, { recursive: true, force: true }))
const LIMIT = { timeout: 60_000 }

interface Rotation {
  /** Settings of the component, `password` as it is written or referred to. */
  component(password: string): object
  /** Another password, and nobody is signed in any more. */
  rotate(password: string): Promise<void>
  /** What callers read then. */
  told: RegExp
}

/** Saves, loses its credentials, tells of it, gets new ones, saves. */
async function survives(name: string, { component, rotate, told }: Rotation, viaSecret: boolean): Promise<void> {
  const folder = join(root, name)
  const [resources, secrets] = [join(folder, 'resources'), join(folder, 'secrets.json')]
  mkdirSync(resources, { recursive: true })
  const give = (password: string) => {
    if (viaSecret) writeFileSync(secrets, JSON.stringify({ password }))
    else writeFileSync(join(resources, 'store.yaml'), JSON.stringify(component(password)))
  }
  if (viaSecret) {
    const metadata = [{ name: 'secretsFile', value: secrets }]
    const spec = { type: 'secretstores.local.file', version: 'v1', metadata }
    const store = { apiVersion: 'dapr.io/v1alpha1', kind: 'Component', metadata: { name: 'vault' }, spec }
    writeFileSync(join(resources, 'vault.yaml'), JSON.stringify(store))
    writeFileSync(join(resources, 'store.yaml'), JSON.stringify(component('')))
  }
  const [first, second] = [`first-${process.pid}`, `second-${process.pid}`]
  give(first)
  await rotate(first)
  await using sidecar = await startSidecar({ appId: `credentials-${name}-${process.pid}`, dataDir: folder, resources })
  assert.deepEqual(await save(sidecar), { status: 204, text: '' })

  await rotate(second)
  await until(async () => {
    const { status, text } = await save(sidecar)
    assert.ok(!text.includes(first))
    return status === 500 && told.test(text)
  }, 'callers read why')
  await until(async () => /"name":"store"[^}]*"state":"retrying"/.test(await health(sidecar)), 'health tells')
  assert.ok(!sidecar.log().includes(first), 'the log does not show the password')

  give(second)
  // Secrets are read anew by themselves once a minute; asked, at once.
  if (viaSecret) process.kill(sidecar.pid, 'SIGHUP')
  await until(async () => (await save(sidecar)).status === 204, 'back')
  await until(async () => /"name":"store"[^}]*"state":"up"/.test(await health(sidecar)), 'health is well')
}

async function save(sidecar: SidecarProcess): Promise<{ status: number; text: string }> {
  const body = JSON.stringify([{ key: 'k', value: 1 }])
  const answer = await fetch(`${sidecar.http}/v1.0/state/store`, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
  return { status: answer.status, text: await answer.text() }
}

async function health(sidecar: SidecarProcess): Promise<string> {
  return (await fetch(`${sidecar.http}/v1.0/healthz?verbose`)).text()
}

async function until(done: () => Promise<boolean>, what: string, limit = 15_000): Promise<void> {
  for (const end = performance.now() + limit; !(await done()); await pause(20)) assert.ok(performance.now() < end, `not in time: ${what}`)
}

const state = (type: string, version: string, metadata: object[], more: object = {}) => ({
  apiVersion: 'dapr.io/v1alpha1',
  kind: 'Component',
  metadata: { name: 'store' },
  spec: { type, version, metadata },
  ...more,
})

test('Redis, by a secret', LIMIT, async (context) => {
  const server = await ownServer(redis)
  if (!server) return context.skip('no redis-server on this machine')
  const [host, port] = server.address.split(':') as [string, string]
  const admin = new RedisConnection({ host, port: Number(port) })
  try {
    await admin.connect()
    await survives(
      'redis',
      {
        component: () =>
          state(
            'state.redis',
            'v1',
            [
              { name: 'redisHost', value: `${host}:${port}` },
              { name: 'redisPassword', secretKeyRef: { name: 'password', key: 'password' } },
            ],
            { auth: { secretStore: 'vault' } },
          ),
        async rotate(password) {
          await admin.call('CONFIG', 'SET', 'requirepass', password)
          await admin.call('CLIENT', 'KILL', 'SKIPME', 'yes')
        },
        told: /refuses the login: WRONGPASS.*correct redisUsername and redisPassword/,
      },
      true,
    )
  } finally {
    admin.disconnect()
    await server.stop()
  }
})

test('PostgreSQL, by its YAML', LIMIT, async (context) => {
  const server = await ownServer(postgres)
  if (!server) return context.skip('no PostgreSQL on this machine')
  try {
    const admin = new pg.Client({ connectionString: server.address })
    await admin.connect()
    await admin.query('CREATE ROLE app SUPERUSER LOGIN')
    const { hba_file } = (await admin.query<{ hba_file: string }>('SHOW hba_file')).rows[0] as { hba_file: string }
    const rules = readFileSync(hba_file, 'utf8')
    writeFileSync(hba_file, 'host all app 127.0.0.1/32 scram-sha-256\n')
    appendFileSync(hba_file, rules)
    await admin.query('SELECT pg_reload_conf()')
    const url = new URL(server.address)
    await survives(
      'postgresql',
      {
        component: (password) =>
          state('state.postgresql', 'v2', [{ name: 'connectionString', value: `postgres://app:${password}@${url.host}/postgres` }]),
        async rotate(password) {
          await admin.query(`ALTER ROLE app PASSWORD '${password}'`)
          await admin.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'")
        },
        told: /password authentication failed.*correct user and password of the component/,
      },
      false,
    )
    await admin.end()
  } finally {
    await server.stop()
  }
})

test('MySQL, by its YAML', LIMIT, async (context) => {
  const server = await serverOf(mariadb)
  if (!server) return context.skip('no MariaDB on this machine')
  try {
    const { hostname, port, username, password: own } = new URL(server.address)
    const admin = await mysql.createConnection({ host: hostname, port: Number(port), user: username, password: own })
    const [user, schema] = [`app${process.pid}`, `credentials${process.pid}`]
    await admin.query(`CREATE DATABASE ${schema}`)
    await admin.query(`CREATE USER ${user}`)
    await admin.query(`GRANT ALL ON *.* TO ${user}`)
    await survives(
      'mysql',
      {
        component: (password) =>
          state('state.mysql', 'v1', [
            { name: 'connectionString', value: `${user}:${password}@tcp(${hostname}:${port})/?allowNativePasswords=true` },
            { name: 'schemaName', value: schema },
          ]),
        async rotate(password) {
          await admin.query(`ALTER USER ${user} IDENTIFIED BY '${password}'`)
          await admin.query(`KILL USER ${user}`)
        },
        told: /Access denied.*correct user and password in connectionString/,
      },
      false,
    )
    await admin.query(`DROP DATABASE ${schema}`)
    await admin.query(`DROP USER ${user}`)
    await admin.end()
  } finally {
    await server.stop()
  }
})

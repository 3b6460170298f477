import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import { describe, it } from 'node:test'
import pg from 'pg'
import { postgres } from '../../../test/servers/postgres.ts'
import { help } from '../../../test/servers/server.ts'
import { createLogger } from '../../telemetry/log.ts'
import { driver } from '../bindings/postgresql/driver.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const open = (properties: Record<string, string>) =>
  driver.create({ name: 'db', type: 'bindings.postgresql', version: 'v1', appId: 'app', namespace: '', log, properties })
const azure = { useAzureAD: 'true', azureTenantId: 'T', azureClientId: 'C', azureClientSecret: 'hidden' }
const aws = { useAWSIAM: 'true', region: 'eu-central-1', accessKey: 'AKIDEXAMPLE', secretKey: 'hidden' }

const there = postgres.available()
if (!there && process.env.OUTRIDER_REQUIRE_SERVERS === '1') throw new Error(help(postgres))

describe('a token in place of a password', () => {
  it('by Microsoft Entra ID, for databases', { skip: there ? false : help(postgres) }, async (t) => {
    const server = await postgres.start()
    t.after(() => server.stop())
    const admin = new pg.Client(server.address)
    await admin.connect()
    const { hba_file } = (await admin.query<{ hba_file: string }>('SHOW hba_file')).rows[0] as { hba_file: string }
    const rules = readFileSync(hba_file, 'utf8')
    writeFileSync(hba_file, `host all app 127.0.0.1/32 scram-sha-256\n${rules}`)
    await admin.query("CREATE ROLE app LOGIN PASSWORD 'first'; SELECT pg_reload_conf()")

    let token = 'first'
    const scopes: (string | null)[] = []
    const entra = createHttpServer(async (request, response) => {
      let body = ''
      for await (const part of request) body += part
      scopes.push(new URLSearchParams(body).get('scope'))
      response.end(JSON.stringify({ access_token: token, expires_in: 3600 }))
    }).listen(0, '127.0.0.1')
    await once(entra, 'listening')
    t.after(() => entra.close())
    process.env.AZURE_AUTHORITY_HOST = `http://127.0.0.1:${(entra.address() as AddressInfo).port}`

    const connectionString = server.address.replace('postgres@', 'app:not-this-one@')
    const user = async () => {
      await using binding = open({ ...azure, connectionString })
      await binding.init(AbortSignal.timeout(10_000))
      const sql = 'SELECT current_user'
      return String((await binding.invoke?.({ operation: 'query', data: Buffer.alloc(0), metadata: { sql } }))?.data)
    }
    assert.equal(await user(), '[["app"]]')
    await admin.query("ALTER ROLE app PASSWORD 'second'")
    await assert.rejects(user(), (error: Error) => {
      assert.match(error.message, /password authentication failed for user "app"/)
      assert.doesNotMatch(error.message, /first|hidden/)
      return true
    })
    token = 'second'
    assert.equal(await user(), '[["app"]]')
    assert.deepEqual(scopes, Array(3).fill('https://ossrdbms-aad.database.windows.net/.default'))
    await admin.end()
  })

  it('by IAM: the password is a signed URL of this server, user and region', async () => {
    const passwords: string[] = []
    const server = createServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', () => {
        // AuthenticationCleartextPassword
        socket.write(Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 3]))
        socket.once('data', (reply) => {
          passwords.push(reply.toString('utf8', 5, reply.length - 1))
          socket.destroy()
        })
      })
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    await using binding = open({ ...aws, connectionString: `postgres://app@127.0.0.1:${port}/x?sslmode=disable` })
    await assert.rejects(
      async () => binding.init(AbortSignal.timeout(10_000)),
      /cannot reach PostgreSQL at 127\.0\.0\.1:\d+\/x as user app/,
    )
    server.close()
    assert.match(
      passwords[0] ?? '',
      new RegExp(
        `^127\\.0\\.0\\.1:${port}/\\?Action=connect&DBUser=app&.*AKIDEXAMPLE%2F\\d{8}%2Feu-central-1%2Frds-db%2F.*X-Amz-Signature=\\w{64}$`,
      ),
    )
  })

  it('says what is missing', () => {
    const connectionString = 'postgres://localhost/x'
    const refused = (properties: Record<string, string>) => () => open({ connectionString, ...properties })
    assert.throws(refused(azure), /missing user: useAzureAD takes a user of the database/)
    assert.throws(refused({ ...azure, ...aws, user: 'app' }), /useAzureAD and useAWSIAM: give one of them/)
    assert.throws(refused({ ...aws, user: 'app', secretKey: '' }), /accessKey and secretKey: give both or neither/)
  })
})

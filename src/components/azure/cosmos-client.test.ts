import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, describe, it, type TestContext } from 'node:test'
import { cosmosdb } from '../../../test/servers/cosmosdb.ts'
import { help, serverOf } from '../../../test/servers/server.ts'
import { parseMetadata } from '../metadata.ts'
import { CosmosContainer } from './cosmos-container.ts'
import { CosmosSession } from './cosmos-session.ts'
import { cosmosFields, readCosmosSettings } from './cosmos-settings.ts'
import { COSMOS_KEY, cosmosOf, makeContainer } from './testing-cosmos.ts'

/** A service that answers as told, one request after the other, and what it was asked. */
async function service(t: TestContext, ...answers: ((request: IncomingMessage, response: ServerResponse) => void)[]) {
  const asked: IncomingMessage[] = []
  const server = createServer((request, response) => {
    asked.push(request)
    request.resume().on('end', () => (answers[asked.length - 1] ?? ok)(request, response))
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  t.after(() => server.close())
  return { asked, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}

const ok = (_: IncomingMessage, response: ServerResponse) => void response.end('{}')
const status =
  (code: number, headers: Record<string, string> = {}, body = '') =>
  (_: IncomingMessage, response: ServerResponse) =>
    void response.writeHead(code, headers).end(body)
const cut = (request: IncomingMessage) => void request.socket.destroy()

function container(properties: Record<string, string>): CosmosContainer {
  return new CosmosContainer(readCosmosSettings(parseMetadata(cosmosFields, properties)))
}
const at = (url: string) => container(cosmosOf(url, 'd'))

describe('a client of Cosmos DB', () => {
  it('waits as long as it is told to when it is throttled', async (t) => {
    const { asked, url } = await service(t, status(429, { 'x-ms-retry-after-ms': '60' }), status(429, { 'x-ms-retry-after-ms': '60' }))
    await using items = at(url)
    const start = performance.now()
    await items.create('{}', 'p')
    assert.ok(performance.now() - start >= 115)
    assert.equal(asked.length, 3)
  })

  it('gives up what is throttled for longer than a call may take', async (t) => {
    const { asked, url } = await service(
      t,
      status(
        429,
        { 'x-ms-retry-after-ms': '30000' },
        '{"code":"429","message":"Message: {\\"Errors\\":[\\"Request rate is large.\\"]}\\r\\nActivityId: x"}',
      ),
    )
    await using items = at(url)
    await assert.rejects(items.create('{}', 'p'), { message: /status 429, 429: Request rate is large\.$/ })
    assert.equal(asked.length, 1)
  })

  it('repeats what a lost connection leaves open only where twice is as once', async (t) => {
    const reading = await service(t, cut, status(500))
    await using one = at(reading.url)
    await one.read('k', 'p', undefined)
    await one.upsert('{}', 'p')
    assert.equal(reading.asked.length, 4)
    for (const write of [
      (items: CosmosContainer) => items.create('{}', 'p'),
      (items: CosmosContainer) => items.upsert('{}', 'p', 'etag'),
      (items: CosmosContainer) => items.delete('k', 'p', 'etag'),
      (items: CosmosContainer) => items.batch([{ operationType: 'Delete', id: 'k' }], 'p'),
    ])
      for (const failure of [cut, status(500)]) {
        const writing = await service(t, failure)
        await using other = at(writing.url)
        await assert.rejects(Promise.resolve(write(other)))
        assert.equal(writing.asked.length, 1)
      }
  })

  it('reads what it wrote: it says how far the session has come, and asks again a replica that is behind', async (t) => {
    const written = status(201, { 'x-ms-session-token': '0:-1#7' })
    const { asked, url } = await service(t, written, status(404, { 'x-ms-substatus': '1002' }), ok, ok, ok)
    await using items = at(url)
    await items.upsert('{}', 'ä')
    await items.read('k', 'p', 'Session')
    await items.read('k', 'p', undefined)
    await items.read('k', 'p', 'Eventual')
    const [write, ...reads] = asked.map(({ headers }) => headers)
    assert.deepEqual(
      reads.map((one) => one['x-ms-session-token']),
      ['0:-1#7', '0:-1#7', '0:-1#7', undefined],
    )
    assert.deepEqual(
      reads.map((one) => one['x-ms-consistency-level']),
      ['Session', 'Session', undefined, 'Eventual'],
    )
    assert.deepEqual([write?.['x-ms-documentdb-partitionkey'], write?.['x-ms-session-token']], ['["\\u00e4"]', undefined])
  })

  it('signs in by Entra ID for this account, and anew when its token is refused', async (t) => {
    const { asked, url } = await service(t, status(401), ok)
    const forms: URLSearchParams[] = []
    const authority = createServer((request, response) => {
      let body = ''
      request.setEncoding('utf8').on('data', (part: string) => {
        body += part
      })
      request.on('end', () => {
        forms.push(new URLSearchParams(body))
        response.end(JSON.stringify({ access_token: `t+${forms.length}=`, expires_in: 3600 }))
      })
    }).listen(0, '127.0.0.1')
    await new Promise((resolve) => authority.once('listening', resolve))
    t.after(() => authority.close())
    process.env.AZURE_AUTHORITY_HOST = `http://127.0.0.1:${(authority.address() as AddressInfo).port}`
    t.after(() => delete process.env.AZURE_AUTHORITY_HOST)
    const entra = { azureTenantId: 'T', azureClientId: 'C', azureClientSecret: 'S' }
    await using items = container({ url, database: 'd', collection: 'c', ...entra })
    await items.read('k', 'p', undefined)
    assert.deepEqual(
      forms.map((form) => form.get('scope')),
      ['http://127.0.0.1/.default', 'http://127.0.0.1/.default'],
    )
    const sent = asked.map(({ headers }) => decodeURIComponent(headers.authorization ?? ''))
    assert.deepEqual(sent, ['type=aad&ver=1.0&sig=t+1=', 'type=aad&ver=1.0&sig=t+2='])
  })
})

it('a session keeps the latest place of each range, and not of more than 128', () => {
  const session = new CosmosSession()
  for (const header of ['0:-1#5', '1:1#9#1=3,2:12', '0:-1#4', '0:-1#6', '1:2#1#1=1', '2:11', 'odd']) session.learn(header)
  assert.deepEqual(session.token?.split(',').sort(), ['0:-1#6', '1:2#1#1=1', '2:12'])
  for (let range = 3; range < 200; range++) session.learn(`${range}:-1#1`)
  assert.equal(session.token?.split(',').length, 128)
})

describe("Microsoft's own client", { skip: cosmosdb.available() ? false : help(cosmosdb) }, () => {
  it('reads what we write, and writes what we read, through the signatures that the stand-in checks', async (t) => {
    const server = await serverOf(cosmosdb)
    assert.ok(server)
    after(() => server.stop())
    const database = `p${randomUUID()}`
    await makeContainer(server.address, database)
    const { CosmosClient } = (await import(
      import.meta.resolve('../../../test/servers/cosmosdb/node_modules/@azure/cosmos/dist/esm/index.js')
    )) as { CosmosClient: new (options: object) => Peer }
    const peer = new CosmosClient({ endpoint: server.address, key: COSMOS_KEY })
    t.after(() => peer.dispose())
    const theirs = peer.database(database).container('items')
    await using ours = container(cosmosOf(server.address, database))

    const document = { id: "k'ä ||1", partitionKey: 'pä', value: { a: [1] }, isBinary: false }
    await ours.upsert(JSON.stringify(document), 'pä')
    const { resource, etag } = await theirs.item(document.id, 'pä').read()
    assert.deepEqual([resource?.value, resource?.partitionKey], [{ a: [1] }, 'pä'])
    const changed = await theirs
      .item(document.id, 'pä')
      .replace({ ...document, value: 2 }, { accessCondition: { type: 'IfMatch', condition: etag } })
    assert.equal(JSON.parse((await ours.read(document.id, 'pä', 'Session')).toString()).value, 2)
    await assert.rejects(ours.upsert(JSON.stringify(document), 'pä', etag), { status: 412 })
    await ours.upsert(JSON.stringify({ ...document, value: 3 }), 'pä', changed.etag)

    const operations = ['x', 'y'].map((id) => ({ operationType: 'Upsert', resourceBody: { id, partitionKey: 'pä', value: id } }))
    assert.deepEqual(
      (await theirs.items.batch(operations, 'pä')).result.map((one) => one.statusCode),
      [201, 201],
    )
    assert.deepEqual(
      await ours.batch(
        [
          { operationType: 'Delete', id: 'x' },
          { operationType: 'Delete', id: 'none' },
        ],
        'pä',
      ),
      [424, 404],
    )
    assert.deepEqual(await ours.batch([{ operationType: 'Delete', id: 'x' }], 'pä'), [204])
    const found = await theirs.items.query('SELECT * FROM c ORDER BY c.id', { partitionKey: 'pä' }).fetchAll()
    assert.deepEqual(
      found.resources.map(({ value }) => value),
      [3, 'y'],
    )
    const asked = { sql: 'SELECT * FROM c WHERE c.id = @id', parameters: [{ name: '@id', value: 'y' }] }
    assert.equal((await ours.query({ ...asked, partition: undefined })).documents.length, 1)
    assert.equal((await ours.query({ ...asked, partition: 'other' })).documents.length, 0)
  })
})

/** What the test needs of @azure/cosmos, which only the tests' own folder has. */
interface Peer {
  dispose(): void
  database(id: string): {
    container(id: string): {
      item(
        id: string,
        partition: string,
      ): {
        read(): Promise<{ resource?: Record<string, unknown>; etag: string }>
        replace(document: object, options: object): Promise<{ etag: string }>
      }
      items: {
        batch(operations: object[], partition: string): Promise<{ result: { statusCode: number }[] }>
        query(sql: string, options: object): { fetchAll(): Promise<{ resources: Record<string, unknown>[] }> }
      }
    }
  }
}

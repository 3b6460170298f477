import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, describe, it } from 'node:test'
import { cosmosdb } from '../../../../test/servers/cosmosdb.ts'
import { help, serverOf } from '../../../../test/servers/server.ts'
import type { StateSet, StateStore } from '../../../blocks/state/driver.ts'
import { parseQuery } from '../../../blocks/state/query.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { askCosmos, COSMOS_KEY, cosmosOf, makeContainer } from '../../azure/testing-cosmos.ts'
import { proveColumns } from '../conformance-columns.ts'
import { driver } from './driver.ts'

proveColumns('state.azure.cosmosdb')

const server = await serverOf(cosmosdb)
after(() => server?.stop())
const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const address = server?.address ?? 'http://127.0.0.1:1'
const database = `s${randomUUID()}`
if (server) {
  await makeContainer(address, database)
  await makeContainer(address, database, 'other', { partitionKey: { paths: ['/orderId'], kind: 'Hash' } })
  await makeContainer(address, database, 'none', { partitionKey: undefined })
  await makeContainer(address, database, 'lasting', { defaultTtl: undefined })
  await makeContainer(address, database, 'byid', { partitionKey: { paths: ['/id'], kind: 'Hash' } })
}

async function open(more: Record<string, string> = {}): Promise<StateStore> {
  const properties = { ...cosmosOf(address, database), ...more }
  const store = driver.create({ name: 's', type: 'state.azure.cosmosdb', version: 'v1', appId: 'app', namespace: '', log, properties })
  try {
    await store.init(AbortSignal.timeout(10_000))
  } catch (error) {
    await store[Symbol.asyncDispose]()
    throw error
  }
  return store
}

const item = (key: string, value: string, more: Partial<StateSet> = {}): StateSet => ({
  kind: 'upsert',
  key,
  value: Buffer.from(value),
  json: true,
  metadata: {},
  ...more,
})

/** The document without what Azure adds. */
async function documentOf(key: string, partition = key, container = 'items'): Promise<unknown> {
  const question = {
    query: 'SELECT * FROM c WHERE c.id = @id AND c.partitionKey = @p',
    parameters: [
      { name: '@id', value: key },
      { name: '@p', value: partition },
    ],
  }
  const found = (await askCosmos(address, 'POST', `dbs/${database}/colls/${container}`, 'docs', question)) as {
    Documents: Record<string, unknown>[]
  }
  return Object.fromEntries(Object.entries(found.Documents[0] ?? {}).filter(([name]) => !name.startsWith('_')))
}

describe('state.azure.cosmosdb', { skip: server === undefined ? help(cosmosdb) : false }, () => {
  const get = async (store: StateStore, key: string, metadata: Record<string, string> = {}) =>
    (await store.get({ key, metadata }))?.data.toString()

  it('writes documents as daprd does', async () => {
    await using store = await open()
    await store.set(item('a||json', '{"x":1.5}', { metadata: { ttlInSeconds: '100' } }))
    assert.deepEqual(await documentOf('a||json'), { id: 'a||json', value: { x: 1.5 }, isBinary: false, partitionKey: 'a||json', ttl: 100 })
    await store.set(item('ä', '\u0000\u00ff', { json: false, metadata: { partitionKey: 'ß', ttlInSeconds: '-1' } }))
    const value = Buffer.from('\u0000\u00ff').toString('base64')
    assert.deepEqual(await documentOf('ä', 'ß'), { id: 'ä', value, isBinary: true, partitionKey: 'ß', ttl: -1 })
    assert.equal(await get(store, 'ä', { partitionKey: 'ß' }), '\u0000\u00ff')
    assert.equal(await get(store, 'ä'), undefined)
    await store.transact?.([item('t', '1')], { partitionKey: 'p' })
    assert.deepEqual(await documentOf('t', 'p'), { id: 't', value: 1, isBinary: false, partitionKey: 'p' })
  })

  it('keeps bytes by the type that the component names', async () => {
    const kept = async (contentType: string, text: string) => {
      await using store = await open({ contentType })
      await store.set(item('typed', text, { json: false }))
      const { value, isBinary } = (await documentOf('typed')) as { value: unknown; isBinary: boolean }
      return [value, isBinary, await get(store, 'typed')]
    }
    assert.deepEqual(await kept('application/json; charset=utf-8', '{"b":2}'), [{ b: 2 }, false, '{"b":2}'])
    assert.deepEqual(await kept('application/json', '[1]'), ['WzFd', true, '[1]'])
    assert.deepEqual(await kept('text/plain', 'ä'), ['ä', false, '"ä"'])
    assert.deepEqual(await kept('application/octet-stream', '{"b":2}'), ['eyJiIjoyfQ==', true, '{"b":2}'])
  })

  it('reads lists whatever their partitions, and first what is in the partition that is named', async () => {
    await using store = await open()
    await store.set(item('l1', '1', { metadata: { partitionKey: 'far' } }))
    await store.set(item('l2', '2'))
    await store.set(item('l2', '3', { metadata: { partitionKey: 'far' } }))
    const ask = async (metadata: Record<string, string>) =>
      (await store.bulkGet?.(['l1', 'l2', 'l3'].map((key) => ({ key, metadata }))))?.map((one) =>
        (one as { data?: Buffer })?.data?.toString(),
      )
    assert.deepEqual(await ask({}), ['1', '2', undefined])
    assert.deepEqual(await ask({ partitionKey: 'far' }), ['1', '3', undefined])
  })

  it('gives pages that leave nothing out, and asks one partition alone', async () => {
    await using store = await open()
    for (let n = 0; n < 7; n++)
      await store.set(item(`q${n}`, JSON.stringify({ n, kind: 'paged' }), { metadata: { partitionKey: n < 3 ? 'a' : 'b' } }))
    const ask = async (page: object, metadata: Record<string, string> = {}) =>
      (await store.query?.(parseQuery(JSON.stringify({ filter: { EQ: { kind: 'paged' } }, sort: [{ key: 'n' }], page })), metadata)) ?? {
        results: [],
      }
    const first = await ask({ limit: 5 })
    const second = await ask({ limit: 5, token: first.token })
    assert.deepEqual(
      [...first.results, ...second.results].map(({ key }) => key),
      ['q0', 'q1', 'q2', 'q3', 'q4', 'q5', 'q6'],
    )
    assert.deepEqual(
      (await ask({}, { partitionKey: 'b' })).results.map(({ key }) => key),
      ['q3', 'q4', 'q5', 'q6'],
    )
    const wrong = store.query?.(parseQuery('{"filter":{"EQ":{"n":1}}}'), {})
    await assert.rejects(Promise.resolve(wrong), { message: 'unsupported type of value 1; expected string' })
  })

  it('leaves out of a transaction what is to be deleted and is not there, and tells which operation failed', async () => {
    await using store = await open()
    const metadata = { partitionKey: 'tx' }
    const del = (key: string, etag?: string) => ({ kind: 'delete', key, etag, metadata: {} }) as const
    await store.transact?.([del('none'), item('there', '1'), del('none either')], metadata)
    assert.equal(await get(store, 'there', metadata), '1')
    await store.transact?.([del('none')], metadata)
    await assert.rejects(Promise.resolve(store.transact?.([del('none'), item('there', '2'), del('none', 'e')], metadata)), {
      message: 'transaction failed due to operation 2 which failed with status code 404',
    })
    assert.equal(await get(store, 'there', metadata), '1')
    assert.equal(await store.maxTransactionSize?.(), 100)
  })

  it('takes containers of partition key /id, and such without time to live', async () => {
    await using byId = await open({ collection: 'byid' })
    await byId.set(item('k', '1'))
    assert.equal(await get(byId, 'k'), '1')
    await using lasting = await open({ collection: 'lasting' })
    await lasting.set(item('k', '1', { metadata: { ttlInSeconds: '1' } }))
    assert.equal(await get(lasting, 'k'), '1')
  })

  it('says what is wrong and what to do next, and nothing of the key', async () => {
    const wrongKey = Buffer.from('canary').toString('base64')
    for (const [settings, words] of [
      [{ url: '' }, /^MetadataError: url is required/],
      [{ url: 'azure' }, /metadata field url: "azure" is not an http or https URL/],
      [{ database: '' }, /database is required/],
      [{ collection: '' }, /collection is required/],
      [{ masterKey: 'canary!' }, /metadata field masterKey: it is not Base64/],
      [{ masterKey: wrongKey }, /refuses masterKey: give a primary or secondary key of this account.*status 401, Unauthorized/],
      [{ masterKey: '', azureAuthMethods: 'creds' }, /no suitable token provider for Azure AD; errors: parameters azureClientId/],
      [{ database: 'nosuch' }, /has no database nosuch: make it, or correct the metadata field database/],
      [
        { collection: 'nosuch' },
        /database s.* has no container nosuch: make it with the partition key \/partitionKey, or correct collection/,
      ],
      [
        { collection: 'other' },
        /^MetadataError: container other has the partition key \/orderId: make one with the partition key \/partitionKey/,
      ],
      [{ collection: 'none' }, /^MetadataError: container none has no partition key: make one with/],
      [{ url: 'http://127.0.0.1:1' }, /no answer of 127\.0\.0\.1:1: .*ECONNREFUSED/],
    ] as const)
      await assert.rejects(open(settings as Record<string, string>), (error: Error) => {
        assert.match(`${error.name}: ${error.message}`, words)
        return !`${error.message}`.includes('canary') && !error.message.includes(wrongKey) && !error.message.includes(COSMOS_KEY)
      })
    await using store = await open()
    for (const key of ['a/b', 'a\\b', 'a#b'])
      await assert.rejects(store.set(item(key, '1')), /which Cosmos DB does not take .* choose another key/)
    await assert.rejects(
      store.set(item('k', '1', { etag: 'e' })).then(() => store.set(item('k', '2', { etag: 'e' }))),
      /status 412, PreconditionFailed/,
    )
  })
})

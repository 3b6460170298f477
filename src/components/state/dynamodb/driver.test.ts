import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { moto } from '../../../../test/servers/moto.ts'
import { serverOf } from '../../../../test/servers/server.ts'
import type { StateSet, StateStore } from '../../../blocks/state/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { DYNAMODB } from '../../aws/services.ts'
import { accountOf, clientOf, makeTable } from '../../aws/testing.ts'
import { proveColumns } from '../conformance-columns.ts'
import { driver } from './driver.ts'

proveColumns('state.aws.dynamodb')

const server = await serverOf(moto)
after(() => server?.stop())
const log = createLogger({ level: 'error', json: false, appId: 'app', version: 'test' })
const table = `dynamo${process.pid}`
if (server) await makeTable(server.address, table, 'pk')

async function open(properties: Record<string, string> = {}): Promise<StateStore> {
  const store = driver.create({
    name: 's',
    type: 'state.aws.dynamodb',
    version: 'v1',
    properties: { ...accountOf(server?.address ?? ''), table, partitionKey: 'pk', ttlAttributeName: 'expires', ...properties },
    appId: 'app',
    namespace: '',
    log,
  })
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

describe('state.aws.dynamodb', { skip: server === undefined ? 'moto is not on this machine' : false }, () => {
  it("writes items as daprd does: JSON as text, bytes as binary, the TTL in the epoch's seconds", async () => {
    await using store = await open()
    await store.set(item('a||json', '{"x":1}', { metadata: { ttlInSeconds: '100' } }))
    await store.set(item('a||bytes', '\0\u00ff', { json: false }))
    await using raw = clientOf(server?.address ?? '', DYNAMODB)
    const read = async (key: string) =>
      (await raw.json('GetItem', { TableName: table, Key: { pk: { S: key } } })).Item as Record<string, Record<string, string>>
    const json = await read('a||json')
    assert.deepEqual(json.value, { S: '{"x":1}' })
    assert.ok(Math.abs(Number(json.expires?.N) - Date.now() / 1000 - 100) < 5)
    assert.match(json.etag?.S ?? '', /^[1-9a-f][0-9a-f]{0,15}$/)
    assert.deepEqual((await read('a||bytes')).value, { B: Buffer.from('\0\u00ff').toString('base64') })
  })

  it('passes over what has expired and is not deleted yet', async () => {
    await using store = await open()
    await using raw = clientOf(server?.address ?? '', DYNAMODB)
    const Item = { pk: { S: 'old' }, value: { S: '1' }, etag: { S: 'e' }, expires: { N: '1000' } }
    await raw.json('PutItem', { TableName: table, Item })
    const get = () => store.get({ key: 'old', metadata: {} })
    assert.equal(await get(), undefined)
    await assert.rejects(store.set(item('old', '2', { etag: 'e' })), { message: /ConditionalCheckFailedException/ })
    await store.set(item('old', '2', { concurrency: 'first-write' }))
    assert.equal((await get())?.data.toString(), '2')
  })

  it('says what is wrong at the start, and nothing of the key', async () => {
    const { secretKey } = accountOf(server?.address ?? '')
    await assert.rejects(open({ table: '' }), /missing required metadata field table/)
    await assert.rejects(open({ table: 'nosuch' }), /validating DynamoDB table 'nosuch' access: .*ResourceNotFoundException/)
    await assert.rejects(
      open({ accessKey: 'AKIAWRONG' }),
      ({ message }: Error) =>
        /validating .* api error (UnrecognizedClient|InvalidClientTokenId)/.test(message) && !message.includes(secretKey),
    )
    await assert.rejects(
      open({ endpoint: 'http://127.0.0.1:1' }),
      /operation error DynamoDB: GetItem, no answer of 127\.0\.0\.1:1: .*ECONNREFUSED/,
    )
  })
})

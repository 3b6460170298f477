import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { datastore } from '../../../../test/servers/datastore.ts'
import { help, serverOf } from '../../../../test/servers/server.ts'
import type { StateStore } from '../../../blocks/state/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { proveColumns } from '../conformance-columns.ts'
import { driver } from './driver.ts'

const server = await serverOf(datastore)
if (server) process.env[datastore.variable] = server.address
after(() => server?.stop())
proveColumns('state.gcp.firestore')

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
async function open(properties: Record<string, string> = {}): Promise<StateStore> {
  const all = { project_id: 'p', endpoint: server?.address ?? '', ...properties }
  const store = driver.create({ name: 's', type: 'state.gcp.firestore', version: 'v1', appId: 'app', namespace: '', log, properties: all })
  await store.init(AbortSignal.timeout(10_000))
  return store
}

describe('state.gcp.firestore', { skip: server === undefined ? help(datastore) : false }, () => {
  const set = (store: StateStore, value: string) =>
    store.set({ kind: 'upsert', key: 'k', value: Buffer.from(value), json: true, metadata: {} })
  const get = async (store: StateStore) => (await store.get({ key: 'k', metadata: {} }))?.data.toString()

  it('keeps kinds apart, and large values where they are not indexed', async () => {
    await using one = await open()
    await using other = await open({ entity_kind: 'Other', noIndex: 'true' })
    await set(one, '1')
    assert.deepEqual([await get(one), await get(other)], ['1', undefined])
    const large = JSON.stringify('x'.repeat(100_000))
    await set(other, large)
    assert.equal(await get(other), large)
    await assert.rejects(set(one, large), /longer than 1500 bytes/)
    await one.ping?.(AbortSignal.timeout(5000))
  })

  it('says what is wrong', async () => {
    await assert.rejects(open({ project_id: '' }), { message: 'error parsing required field: project_id' })
    await assert.rejects(open({ endpoint: 'http://' }), /metadata field endpoint: "http:\/\/" is not host:port/)
    await using away = await open({ endpoint: '127.0.0.1:1' })
    await assert.rejects(get(away), /ECONNREFUSED/)
  })
})

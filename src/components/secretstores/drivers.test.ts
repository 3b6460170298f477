import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { secretStoreConformance } from '../../blocks/secrets/conformance.ts'
import { createLogger } from '../../telemetry/log.ts'
import { secretStoreDrivers } from './registry.ts'

const folder = mkdtempSync(join(tmpdir(), 'outrider-secrets-'))
after(() => rmSync(folder, { recursive: true }))
const log = createLogger({ level: 'error', json: false, appId: 'app', version: 'test' })

async function open(type: string, properties: Record<string, string>) {
  const row = secretStoreDrivers.find((driver) => driver.type === type)
  assert.ok(row, type)
  const store = (await row.load()).create({ name: 's', type, version: 'v1', properties, appId: 'app', namespace: 'default', log })
  await store.init(AbortSignal.timeout(5000))
  return store
}
function file(content: unknown): string {
  const path = join(folder, `${Math.random()}.json`)
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content))
  return path
}

secretStoreConformance('secretstores.local.file', () =>
  open('secretstores.local.file', { secretsFile: file({ conftestsecret: 'abcd', secondsecret: 'efgh' }) }),
)
process.env.CONF_conftestsecret = 'abcd'
process.env.CONF_secondsecret = 'efgh'
secretStoreConformance('secretstores.local.env', () => open('secretstores.local.env', { prefix: 'CONF_' }), { emptyWhenMissing: true })

const golden = { plain: 'p', outer: { inner: 'i', two: 2 }, list: ['l0'] }

test('local.file flattens nested members and shows numbers as daprd does', async () => {
  const store = await open('secretstores.local.file', { secretsFile: file(golden) })
  assert.deepEqual(await store.bulkGet({}), {
    'list:0': { 'list:0': 'l0' },
    'outer:inner': { 'outer:inner': 'i' },
    'outer:two': { 'outer:two': '%!s(float64=2)' },
    plain: { plain: 'p' },
  })
  await assert.rejects(store.get('nope', {}), { message: 'secret nope not found' })
})

test('local.file, multi-valued, gives an object as one secret', async () => {
  const store = await open('secretstores.local.file', { secretsFile: file(golden), multiValued: 'true' })
  assert.deepEqual(store.features, ['MULTIPLE_KEY_VALUES_PER_SECRET'])
  assert.deepEqual(await store.bulkGet({}), { outer: { inner: 'i', two: '%!s(float64=2)' }, plain: { plain: 'p' } })
})

test('a broken secrets file is named without a word of its content', async () => {
  await assert.rejects(
    open('secretstores.local.file', { secretsFile: file('{"key": hunter2}') }),
    (error: Error) => /is not valid JSON/.test(error.message) && !error.message.includes('hunter2'),
  )
})

test("local.env hides the sidecar's own variables and gives an empty text for unknown ones", async () => {
  process.env.DAPR_TEST_TOKEN = 'secret'
  const store = await open('secretstores.local.env', {})
  assert.deepEqual(await store.get('DAPR_TEST_TOKEN', {}), { DAPR_TEST_TOKEN: '' })
  assert.equal('DAPR_TEST_TOKEN' in (await store.bulkGet({})), false)
  assert.deepEqual(await store.get('SURELY_NOT_SET', {}), { SURELY_NOT_SET: '' })
})

import assert from 'node:assert/strict'
import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto'
import { after, describe, it } from 'node:test'
import { gcs } from '../../../../test/servers/clouds.ts'
import { help, serverOf } from '../../../../test/servers/server.ts'
import { bindingConformance } from '../../../blocks/bindings/conformance.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { driver } from './driver.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const server = await serverOf(gcs)
const endpoint = server?.address ?? 'http://127.0.0.1:1'
after(() => server?.stop())

async function made(): Promise<string> {
  const name = `b-${randomUUID()}`
  await fetch(`${endpoint}/storage/v1/b?project=p`, { method: 'POST', body: JSON.stringify({ name }) })
  return name
}
const bucket = server ? await made() : 'none'

async function open(properties: Record<string, string> = {}) {
  const common = { name: 'files', type: 'bindings.gcp.bucket', version: 'v1', appId: 'app', namespace: '', log }
  const binding = driver.create({ ...common, properties: { bucket, project_id: 'p', endpoint, ...properties } })
  await binding.init(AbortSignal.timeout(5000))
  const call = async (operation: string, data: Buffer | string | object = '', metadata: Record<string, string> = {}) => {
    const body = Buffer.isBuffer(data) ? data : Buffer.from(typeof data === 'string' ? data : JSON.stringify(data))
    const reply = await binding.invoke?.({ operation, data: body, metadata })
    return reply?.data ?? Buffer.alloc(0)
  }
  const json = async (...args: Parameters<typeof call>) => JSON.parse(String(await call(...args)))
  return { binding, call, json, [Symbol.asyncDispose]: () => binding[Symbol.asyncDispose]() }
}

const operations = ['create', 'get', 'delete', 'list', 'sign', 'bulkGet', 'copy', 'rename', 'move']
bindingConformance(
  'bindings.gcp.bucket (fake-gcs-server)',
  { operations, read: false, createMetadata: { key: 'conformance' } },
  async () => (server ? (await open()).binding : undefined),
)

describe('bindings.gcp.bucket', { skip: server === undefined ? help(gcs) : false }, () => {
  it('saves and gives every byte, under any name, as text, Base64 or JSON text', async () => {
    await using files = await open()
    const bytes = randomBytes(9 << 20)
    for (const [key, data, metadata, expected] of [
      ['big', bytes, {}, bytes],
      ['a b/ü?#%.txt', 'text', {}, Buffer.from('text')],
      ['base64', bytes.subarray(0, 100).toString('base64'), { decodeBase64: 'true' }, bytes.subarray(0, 100)],
      ['quoted', '"say \\"hi\\""', {}, Buffer.from('say "hi"')],
      ['empty', '', {}, Buffer.alloc(0)],
    ] as const) {
      const { objectURL } = await files.json('create', data, { key, ...metadata })
      assert.equal(objectURL, `https://storage.googleapis.com/${bucket}/${encodeURI(key)}`)
      assert.ok((await files.call('get', '', { name: key })).equals(expected), key)
    }
    assert.equal(String(await files.call('get', '', { key: 'quoted', encodeBase64: 'true' })), Buffer.from('say "hi"').toString('base64'))
    await assert.rejects(files.call('create', 'no!', { key: 'x', decodeBase64: 'true' }), /illegal base64 data/)
  })

  it('lists by prefix and delimiter, of more than a page, with the members of Google’s SDK', async () => {
    const own = await made()
    await using files = await open({ bucket: own })
    assert.equal(String(await files.call('list', '{}')), 'null')
    for (const key of ['a/1', 'a/2', 'b/1', 'c']) await files.call('create', `of ${key}`, { key, contentType: 'a/b' })
    const names = async (payload: object) =>
      (await files.json('list', payload)).map((one: Record<string, string>) => one.Name || one.Prefix)
    assert.deepEqual(await names({}), ['a/1', 'a/2', 'b/1', 'c'])
    assert.deepEqual(await names({ prefix: 'a/' }), ['a/1', 'a/2'])
    assert.deepEqual(await names({ maxResults: 3 }), ['a/1', 'a/2', 'b/1'])
    assert.deepEqual(await names({ delimiter: '/' }), ['c', 'a/', 'b/'])
    const [first] = await files.json('list', { prefix: 'c' })
    assert.deepEqual([first.Bucket, first.ContentType, first.Size, first.Deleted], [own, 'a/b', 4, '0001-01-01T00:00:00Z'])
    assert.equal(Buffer.from(first.MD5, 'base64').length, 16)
    assert.ok(first.CRC32C > 0 && Date.parse(first.Created) > 0)
    const all = (await files.json('bulkGet')) as { name: string; data: string; attrs: { Size: number } }[]
    assert.deepEqual(
      all.map(({ name, data }) => [name, Buffer.from(data, 'base64').toString()]),
      ['a/1', 'a/2', 'b/1', 'c'].map((key) => [key, `of ${key}`]),
    )
    assert.equal(all[3]?.attrs.Size, 4)
  })

  it('copies, renames, moves and deletes', async () => {
    await using files = await open()
    const other = await made()
    await files.call('create', 'v', { key: 'one' })
    assert.equal(String(await files.call('copy', { destinationKey: 'two' }, { key: 'one' })), `object one copied to ${bucket}/two`)
    assert.equal(String(await files.call('rename', { newName: 'three' }, { key: 'two' })), 'object two renamed to three')
    assert.equal(String(await files.call('move', { destinationBucket: other }, { key: 'three' })), `object three moved to ${other}/three`)
    await using there = await open({ bucket: other })
    assert.equal(String(await there.call('get', '', { key: 'three' })), 'v')
    for (const key of ['two', 'three']) await assert.rejects(files.call('get', '', { key }), { message: 'object not found' })
    await files.call('delete', '', { key: 'one' })
    await assert.rejects(files.call('delete', '', { key: 'one' }), { message: 'object not found' })
    await assert.rejects(files.call('copy', {}, { key: 'x' }), /requires at least one of destinationBucket or destinationKey/)
    await assert.rejects(files.call('move', { destinationKey: 'x' }, { key: 'x' }), /is the same as the source/)
    await assert.rejects(files.call('rename', {}, { key: 'x' }), /required 'newName' missing/)
    await assert.rejects(files.call('rename', 'no', { key: 'x' }), /invalid rename payload/)
  })

  it('signs URLs with a service account’s key', async () => {
    const private_key = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
    await using files = await open({ private_key_id: 'k', private_key, client_email: 'me@p', signTTL: '15m' })
    const { signURL } = await files.json('sign', '', { key: 'a b' })
    const url = new URL(signURL)
    assert.equal(url.pathname, `/${bucket}/a%20b`)
    assert.equal(url.searchParams.get('X-Goog-Expires'), '900')
    assert.match(url.searchParams.get('X-Goog-Credential') ?? '', /^me@p\/\d{8}\/auto\/storage\/goog4_request$/)
    assert.match(url.searchParams.get('X-Goog-Signature') ?? '', /^[0-9a-f]{512}$/)
    await assert.rejects(files.call('sign', '', { key: 'a', signTTL: '200h' }), /within seven days/)
    await using none = await open()
    await assert.rejects(none.call('sign', '', { key: 'a', signTTL: '1m' }), /it takes a service account's key/)
    await assert.rejects(none.call('sign', '', { key: 'a' }), /required metadata 'signTTL' missing/)
  })

  it('says what is wrong', async () => {
    await assert.rejects(open({ bucket: '' }), { message: 'missing property `bucket` in metadata' })
    await assert.rejects(open({ project_id: '' }), { message: 'missing property `project_id` in metadata' })
    await using files = await open({ bucket: `no-${randomUUID()}` })
    await assert.rejects(files.call('create', 'x'), /gcp bucket binding error while uploading: .*status 404/)
    await assert.rejects(files.call('get'), { message: "gcp bucket binding error: can't read key value" })
    await using away = await open({ endpoint: 'http://127.0.0.1:1' })
    await assert.rejects(away.call('get', '', { key: 'k' }), /while downloading object: .*no answer of 127\.0\.0\.1:1/)
  })
})

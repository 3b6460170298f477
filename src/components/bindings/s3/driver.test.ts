import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { moto, startMoto } from '../../../../test/servers/moto.ts'
import { serverOf } from '../../../../test/servers/server.ts'
import { bindingConformance } from '../../../blocks/bindings/conformance.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { accountOf, clientOf } from '../../aws/testing.ts'
import { driver } from './driver.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const server = await serverOf(moto)
const bucket = `bucket-${randomUUID()}`
const S3 = { name: 'S3', host: 's3', id: 'S3' }
const folder = mkdtempSync(join(tmpdir(), 'outrider-s3-'))
after(async () => {
  await server?.stop()
  rmSync(folder, { recursive: true })
})

async function open(properties: Record<string, string> = {}) {
  const binding = driver.create({
    name: 'files',
    type: 'bindings.aws.s3',
    version: 'v1',
    properties: { bucket, ...(server && accountOf(server.address)), ...properties },
    appId: 'app',
    namespace: 'default',
    log,
  })
  await binding.init(AbortSignal.timeout(5000))
  const call = async (operation: string, data: Buffer | string | object = '', metadata: Record<string, string> = {}) => {
    const body = Buffer.isBuffer(data) ? data : Buffer.from(typeof data === 'string' ? data : JSON.stringify(data))
    const response = await binding.invoke?.({ operation, data: body, metadata })
    return {
      text: response?.data?.toString() ?? '',
      data: response?.data,
      metadata: response?.metadata,
      json: () => JSON.parse(String(response?.data)),
    }
  }
  return { binding, call, [Symbol.asyncDispose]: () => binding[Symbol.asyncDispose]() }
}

if (server) {
  await using s3 = clientOf(server.address, S3)
  await s3.rest({ operation: 'CreateBucket', method: 'PUT', path: `/${bucket}` })
  await s3.rest({ operation: 'CreateBucket', method: 'PUT', path: '/dotted.bucket' })
}

const operations = ['create', 'get', 'delete', 'list', 'presign', 'bulkGet', 'bulkCreate', 'bulkDelete']
bindingConformance('bindings.aws.s3 (moto)', { operations, read: false, createMetadata: { key: 'conf.json' } }, async () =>
  server ? (await open()).binding : undefined,
)

describe('bindings.aws.s3', { skip: server === undefined ? 'moto is not on this machine' : false }, () => {
  it('tells where an object is, and gives it a name when it has none', async () => {
    await using s3 = await open()
    const { endpoint } = accountOf(server?.address ?? '')
    const named = await s3.call('create', '"hello"', { key: 'a/b c+ü.txt', 'Content-Type': 'text/plain', tags: 'a=1, b = 2' })
    assert.deepEqual(named.json(), { location: `${endpoint}/${bucket}/a/b c+ü.txt`, versionID: null })
    assert.deepEqual(named.metadata, { key: 'a/b c+ü.txt' })
    assert.equal((await s3.call('get', '', { key: 'a/b c+ü.txt' })).text, 'hello')
    const unnamed = await s3.call('create', '{"x":1}')
    assert.equal((await s3.call('get', '', { key: unnamed.metadata?.key ?? '' })).text, '{"x":1}')
    await assert.rejects(s3.call('create', 'x', { tags: 'a' }), {
      message: "s3 binding error: parsing tags falied error: invalid tag format: 'a' (expected key=value)",
    })
  })

  it('keeps apart names that a URL would make one', async () => {
    await using s3 = await open()
    const names = ['x/../y', 'y', './y', 'x//y', 'x/%2E%2E/y', 'y?z', 'y#z', ' y', "y'(!)*", 'y&<>"']
    for (const key of names) await s3.call('create', `of ${key}`, { key })
    for (const key of names) assert.equal((await s3.call('get', '', { key })).text, `of ${key}`)
  })

  it('saves and gives Base64 when asked for', async () => {
    await using s3 = await open()
    const bytes = randomBytes(20_000_001)
    await s3.call('create', bytes.toString('base64'), { key: 'binary', decodeBase64: 'true' })
    assert.deepEqual((await s3.call('get', '', { key: 'binary' })).data, bytes)
    assert.equal((await s3.call('get', '', { key: 'binary', encodeBase64: 'y' })).text, bytes.toString('base64'))
    for (const bad of ['no base64!', 'YQ==YQ==', 'YQ', 'YQ=='.repeat(400_000)])
      await assert.rejects(s3.call('create', bad, { key: 'bad', decodeBase64: 'true' }), /uploading failed: illegal base64 data/)
    await assert.rejects(s3.call('get', '', { key: 'bad' }), { message: 'object not found' })
  })

  it('saves a large file in parts, and leaves nothing of one that fails', async () => {
    await using s3 = await open()
    const file = join(folder, 'large')
    const bytes = randomBytes((17 << 20) + 3)
    writeFileSync(file, bytes)
    const saved = await s3.call('create', '', { key: 'large', filePath: file })
    assert.match(saved.json().location, /\/large$/)
    assert.ok(bytes.equals((await s3.call('get', '', { key: 'large' })).data ?? Buffer.alloc(0)))
    writeFileSync(file, `${bytes.toString('base64')}!`)
    await assert.rejects(s3.call('create', '', { key: 'broken', filePath: file, decodeBase64: 'true' }), /illegal base64 data/)
    await using raw = clientOf(server?.address ?? '', S3)
    const uploads = await raw.rest({ operation: 'ListMultipartUploads', method: 'GET', path: `/${bucket}`, query: [['uploads', '']] })
    assert.doesNotMatch(uploads.body.toString(), /<Upload>/)
    await assert.rejects(s3.call('create', '', { filePath: join(folder, 'nosuch') }), /s3 binding error: file read error: ENOENT/)
  })

  it('lists as the Go SDK writes it', async () => {
    await using s3 = await open()
    for (const key of ['list/a', 'list/b&<c>', 'list/d/e']) await s3.call('create', 'four', { key })
    const all = (await s3.call('list', { prefix: 'list/', delimiter: '/', maxResults: 10 })).json()
    assert.deepEqual(all.CommonPrefixes, [{ Prefix: 'list/d/' }])
    assert.deepEqual(
      all.Contents.map(({ Key, Size, StorageClass }: Record<string, unknown>) => [Key, Size, StorageClass]),
      [
        ['list/a', 4, 'STANDARD'],
        ['list/b&<c>', 4, 'STANDARD'],
      ],
    )
    assert.match(all.Contents[0].LastModified, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/)
    assert.deepEqual([all.IsTruncated, all.MaxKeys, all.Prefix], [false, 10, 'list/'])
    const first = (await s3.call('list', { prefix: 'list/', maxResults: 1 })).json()
    assert.deepEqual([first.IsTruncated, first.Contents.length], [true, 1])
    const next = (await s3.call('list', { prefix: 'list/', marker: first.Contents[0].Key })).json()
    assert.equal(next.Contents.length, 2)
    assert.equal((await s3.call('list', 'null')).json().MaxKeys, 1000)
    for (const bad of ['x', '"x"', '[]'])
      await assert.rejects(s3.call('list', bad), /s3 binding \(List Operation\) - unable to parse Data property - /)
  })

  it('gives URLs that anyone can read by, for a while', async (t) => {
    if (!moto.available()) return t.skip('moto is not on this machine')
    const own = await startMoto(false)
    t.after(() => own.stop())
    await using raw = clientOf(own.address, S3)
    await raw.rest({ operation: 'CreateBucket', method: 'PUT', path: '/shared' })
    await using s3 = await open({ ...accountOf(own.address), bucket: 'shared' })
    const made = (await s3.call('create', 'for all', { key: 'shared +.txt', presignTTL: '15m' })).json()
    const { presignURL } = (await s3.call('presign', '', { key: 'shared +.txt', presignTTL: '1h' })).json()
    for (const url of [made.presignURL, presignURL]) assert.equal(await (await fetch(url)).text(), 'for all')
    assert.match(presignURL, /\?X-Amz-Algorithm=AWS4-HMAC-SHA256&.*&X-Amz-Expires=3600&.*&X-Amz-Signature=[0-9a-f]{64}$/)
    await assert.rejects(s3.call('presign', '', { key: 'k' }), { message: "s3 binding error: required metadata 'presignTTL' missing" })
    await assert.rejects(s3.call('presign', '', { key: 'k', presignTTL: 'soon' }), /cannot parse duration soon/)
  })

  it('reads, writes and deletes many at once, each with its own result', async () => {
    await using s3 = await open()
    const [from, to] = [join(folder, 'from'), join(folder, 'to')]
    writeFileSync(from, 'of a file')
    const items = [{ key: 'm1', data: 'one', contentType: 'text/plain' }, { key: 'm2', filePath: from }, { key: '' }, { key: 'm4' }]
    const made = (await s3.call('bulkCreate', { items, concurrency: 2 })).json()
    assert.deepEqual(
      made.map(({ key, error }: Record<string, unknown>) => [key, error]),
      [
        ['m1', undefined],
        ['m2', undefined],
        ['', 'key is required'],
        ['m4', 'either data or filePath is required'],
      ],
    )
    assert.match(made[0].location, /\/m1$/)
    const got = (await s3.call('bulkGet', { items: [{ key: 'm1' }, { key: 'm2', filePath: to }, { key: 'nosuch' }] })).json()
    assert.deepEqual(got, [{ key: 'm1', data: 'one' }, { key: 'm2' }, { key: 'nosuch', error: 'object not found' }])
    assert.equal(readFileSync(to, 'utf8'), 'of a file')
    const gone = (await s3.call('bulkDelete', { keys: ['m1', 'm2', 'm1', ' ', 'nosuch'] })).json()
    assert.deepEqual(gone, [{ key: 'm1' }, { key: 'm2' }, { key: 'm1' }, { key: ' ', error: 'key is required' }, { key: 'nosuch' }])
    await assert.rejects(s3.call('get', '', { key: 'm1' }), { message: 'object not found' })
    await assert.rejects(s3.call('bulkGet', { items: [] }), { message: 's3 binding error: bulkGet requires at least one item' })
    await assert.rejects(s3.call('bulkGet', { items: [{ key: 'm' }], concurrency: 0 }), {
      message: 's3 binding error: concurrency must be greater than 0, got 0',
    })
  })

  it('says what AWS says, and nothing of the key', async () => {
    const { secretKey } = accountOf(server?.address ?? '')
    await using dotted = await open({ bucket: 'dotted.bucket' })
    await dotted.call('create', 'x', { key: 'k' })
    await using other = await open({ bucket: 'no-such-bucket' })
    await assert.rejects(
      other.call('get', '', { key: 'k' }),
      /error downloading S3 object: operation error S3: GetObject, .*StatusCode: 404.*NoSuchBucket/,
    )
    await using wrong = await open({ secretKey: 'wrong' })
    await assert.rejects(
      wrong.call('list'),
      (error: Error) => /SignatureDoesNotMatch/.test(error.message) && !error.message.includes(secretKey),
    )
    await using away = await open({ endpoint: '127.0.0.1:1', disableSSL: 'true' })
    await assert.rejects(away.call('list'), /operation error S3: ListObjects, no answer of 127\.0\.0\.1:1: .*ECONNREFUSED/)
    await assert.rejects(open({ bucket: '' }), /missing required metadata field bucket/)
    await assert.rejects(open({ secretKey: '' }), /accessKey and secretKey: give both or neither/)
  })
})

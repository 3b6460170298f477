import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { azurite } from '../../../../test/servers/azurite.ts'
import { help, serverOf } from '../../../../test/servers/server.ts'
import { bindingConformance } from '../../../blocks/bindings/conformance.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { ACCOUNT, connectionTo, KEY } from '../../azure/testing.ts'
import { driver } from './driver.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const server = await serverOf(azurite)
const address = server?.address ?? 'http://127.0.0.1:1'
const containerName = `files-${randomUUID()}`
const base = `${address}/${ACCOUNT}/${containerName}`
const folder = mkdtempSync(join(tmpdir(), 'outrider-blob-'))
after(async () => {
  await server?.stop()
  rmSync(folder, { recursive: true })
})

async function open(properties: Record<string, string> = { connectionString: connectionTo(address) }) {
  const all = { containerName, retryCount: '1', ...properties }
  const common = { name: 'files', type: 'bindings.azure.blobstorage', version: 'v1', appId: 'app', namespace: '', log }
  const binding = driver.create({ ...common, properties: all })
  try {
    await binding.init(AbortSignal.timeout(10_000))
  } catch (error) {
    await binding[Symbol.asyncDispose]()
    throw error
  }
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

const operations = ['create', 'get', 'delete', 'list', 'bulkGet', 'bulkCreate', 'bulkDelete', 'presign']
bindingConformance(
  'bindings.azure.blobstorage (Azurite)',
  { operations, read: false, createMetadata: { blobName: 'conf.json' } },
  async () => (server ? (await open()).binding : undefined),
)

describe('bindings.azure.blobstorage', { skip: server === undefined ? help(azurite) : false }, () => {
  it('tells where a blob is, keeps its headers and metadata, and gives it a name when it has none', async () => {
    await using files = await open()
    const metadata = { blobName: 'a/b c+ü.txt', contentType: 'text/plain', 'my-Key': 'väl', ContentMD5: 'XUFAKrxLKna5cZ2REBfFkg==' }
    const named = await files.call('create', '"hello"', metadata)
    assert.deepEqual(named.json(), { blobURL: `${base}/a%2Fb%20c+%C3%BC.txt`, blobName: 'a/b c+ü.txt' })
    assert.deepEqual(named.metadata, { blobName: 'a/b c+ü.txt' })
    const got = await files.call('get', '', { blobName: 'a/b c+ü.txt', includeMetadata: 'true' })
    assert.deepEqual([got.text, got.metadata], ['hello', { mykey: 'vl' }])
    const unnamed = await files.call('create', '{"x":1}')
    assert.equal((await files.call('get', '', { blobName: unnamed.json().blobName })).text, '{"x":1}')
    await assert.rejects(files.call('create', 'x', { ContentMD5: 'XUF' }), /the MD5 value specified in Content MD5 is invalid/)
  })

  it('saves a large blob in parts, of Base64 too, and into files', async () => {
    await using files = await open({ connectionString: connectionTo(address), decodeBase64: 'true' })
    const bytes = randomBytes((20 << 20) + 3)
    await files.call('create', bytes.toString('base64'), { blobName: 'large', contentType: 'x/y' })
    const file = join(folder, 'deep', 'large')
    const saved = await files.call('get', '', { blobName: 'large', filePath: file })
    assert.deepEqual([saved.data, saved.metadata], [undefined, { filePath: file }])
    assert.ok(readFileSync(file).equals(bytes))
    const [item] = (await files.call('list', { prefix: 'large' })).json()
    assert.deepEqual([item.Properties.ContentLength, item.Properties.ContentType], [bytes.length, 'x/y'])
    await assert.rejects(files.call('create', 'no!!', { blobName: 'bad' }), /^Error: illegal base64 data/)
    await assert.rejects(files.call('create', `${bytes.toString('base64')}!`, { blobName: 'bad' }), /illegal base64 data/)
    await assert.rejects(files.call('get', '', { blobName: 'bad' }), { message: 'blob not found' })
    await assert.rejects(files.call('get', '', { blobName: 'bad', filePath: join(folder, 'bad') }), { message: 'blob not found' })
    assert.ok(!existsSync(join(folder, 'bad')))
  })

  it('lists page by page, as the Go SDK writes it', async () => {
    await using files = await open()
    for (const name of ['list/a', 'list/b&<c>', 'list/c']) await files.call('create', 'four', { blobName: name, kind: name.slice(5, 6) })
    const first = await files.call('list', { prefix: 'list/', maxResults: 2, include: { metadata: true } })
    assert.deepEqual([first.metadata?.number, first.metadata?.pagesTraversed], ['2', '1'])
    const [a, b] = first.json()
    assert.deepEqual([a.Name, a.Properties.ContentLength, a.Properties.BlobType, a.Metadata], ['list/a', 4, 'BlockBlob', { kind: 'a' }])
    assert.match(a.Properties.LastModified, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
    assert.deepEqual([b.Name, b.Deleted, b.Properties.CopyID, b.Properties.ServerEncrypted], ['list/b&<c>', null, null, true])
    const rest = await files.call('list', { prefix: 'list/', marker: first.metadata?.marker })
    assert.deepEqual([rest.json().map(({ Name }: { Name: string }) => Name), rest.metadata?.marker], [['list/c'], ''])
    assert.ok((await files.call('list')).json().length >= 3)
    for (const bad of ['x', '"x"', '[]', '{"prefix":1}']) await assert.rejects(files.call('list', bad), /error parsing list payload/)
  })

  it('gives URLs that anyone can read by, for a while; such a signature opens the container to others', async () => {
    await using files = await open()
    const made = (await files.call('create', 'for all', { blobName: 'shared/+ ü', signTTL: '15m' })).json()
    const { presignURL } = (await files.call('presign', '', { blobName: 'shared/+ ü', signTTL: '1h' })).json()
    for (const url of [made.presignURL, presignURL]) assert.equal(await (await fetch(url)).text(), 'for all')
    assert.equal((await fetch(made.blobURL)).status, 403)
    assert.equal((await fetch(presignURL.replace(/sig=[^&]+/, 'sig=AAAA'))).status, 403)
    const connectionString = `BlobEndpoint=${address}/${ACCOUNT};SharedAccessSignature=${new URL(presignURL).search}`
    await using reader = await open({ connectionString, disableEntityManagement: 'true' })
    assert.equal((await reader.call('get', '', { blobName: 'shared/+ ü' })).text, 'for all')
    await assert.rejects(reader.call('create', 'x', { blobName: 'shared/+ ü' }), /status 403/)
    await assert.rejects(reader.call('presign', '', { blobName: 'x', signTTL: '1h' }), /it takes the account's key/)
    for (const [ttl, words] of [
      ['15', /cannot parse signTTL duration "15"/],
      ['-5s', /signTTL must be a positive duration, got "-5s"/],
      ['', /signTTL is a required attribute for presign operations/],
    ] as const)
      await assert.rejects(files.call('presign', '', { blobName: 'x', signTTL: ttl }), words)
  })

  it('reads, writes and deletes many at once, each with its own result', async () => {
    await using files = await open()
    const from = join(folder, 'from')
    writeFileSync(from, 'of a file')
    const items = [
      { blobName: 'many/1', data: 'one', contentType: 'text/plain' },
      { blobName: 'many/../2', sourcePath: from },
      { blobName: 'many/3', sourcePath: join(folder, 'nosuch') },
    ]
    const made = await files.call('bulkCreate', { items, concurrency: 2 })
    assert.equal(made.metadata?.number, '3')
    assert.deepEqual(made.json()[0], { blobName: 'many/1', blobURL: `${base}/many%2F1` })
    assert.match(made.json()[2].error, /^error opening source file: ENOENT/)
    const got = (await files.call('bulkGet', { items: [{ blobName: 'many/1' }, { blobName: 'nosuch' }] })).json()
    assert.deepEqual(got, [
      { blobName: 'many/1', data: Buffer.from('one').toString('base64') },
      { blobName: 'nosuch', error: 'blob not found' },
    ])
    const directory = join(folder, 'all')
    await files.call('bulkGet', { prefix: 'many/', destinationDir: directory })
    assert.deepEqual([readFileSync(join(directory, 'many', '1'), 'utf8'), readFileSync(join(directory, '2'), 'utf8')], ['one', 'of a file'])
    const gone = (await files.call('bulkDelete', { blobNames: ['many/1', 'many/1', 'nosuch'], prefix: 'many/' })).json()
    assert.deepEqual(gone, [{ blobName: 'many/1' }, { blobName: 'nosuch', error: 'blob not found' }, { blobName: 'many/../2' }])
    for (const [operation, payload, words] of [
      ['bulkGet', {}, 'at least one of items or prefix is required'],
      ['bulkGet', { prefix: 'x' }, 'destinationDir is required when using prefix'],
      ['bulkGet', { items: [{ blobName: 'x' }], concurrency: 0 }, 'concurrency must be greater than 0'],
      ['bulkCreate', {}, 'items array must not be empty'],
      ['bulkCreate', { items: [{}] }, 'item at index 0 is missing blobName'],
      ['bulkCreate', { items: [{ blobName: 'x' }] }, 'item at index 0 is missing both data and sourcePath'],
      ['bulkDelete', {}, 'at least one of prefix or blobNames is required'],
      ['bulkDelete', { blobNames: ['x'], deleteSnapshots: 'x' }, 'invalid delete snapshot option type: x; allowed: [include only]'],
    ] as const)
      await assert.rejects(files.call(operation, payload), { message: words })
  })

  it('says what Azure says, and nothing of the key', async () => {
    const wrong = Buffer.from('canary').toString('base64')
    const account = { accountName: ACCOUNT, endpoint: address, disableEntityManagement: 'true' }
    await using refused = await open({ ...account, accountKey: wrong })
    await assert.rejects(
      refused.call('list'),
      ({ message }: Error) => /error listing blobs: GET .*status 403/.test(message) && !message.includes(wrong),
    )
    await using away = await open({ ...account, accountKey: KEY, endpoint: 'http://127.0.0.1:1' })
    await assert.rejects(
      away.call('get', '', { blobName: 'x' }),
      /error downloading az blob: .*no answer of 127\.0\.0\.1:1: .*ECONNREFUSED/,
    )
    await using files = await open()
    for (const operation of ['get', 'delete', 'presign'])
      await assert.rejects(files.call(operation), { message: 'blobName is a required attribute' })
    await assert.rejects(files.call('delete', '', { blobName: 'nosuch' }), { message: 'blob not found' })
  })
})

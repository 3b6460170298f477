import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { responseOf } from '../../blocks/bindings/block.ts'
import { bindingConformance } from '../../blocks/bindings/conformance.ts'
import { createLogger } from '../../telemetry/log.ts'
import { parseSchedule } from './cron/schedule.ts'
import { bindingDrivers } from './registry.ts'

const folder = realpathSync(mkdtempSync(join(tmpdir(), 'outrider-bindings-')))
const log = createLogger({ level: 'error', json: false, appId: 'app', version: 'test' })
const server = createServer((request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    const status = Number(/status\/(\d+)/.exec(request.url ?? '')?.[1] ?? 200)
    response.writeHead(status, { 'content-type': 'application/json', 'x-app': 'yes' })
    response.end(
      JSON.stringify({
        method: request.method,
        url: request.url,
        type: request.headers['content-type'],
        own: request.headers['x-own'],
        low: request.headers.lower,
        body: Buffer.concat(chunks).toString(),
      }),
    )
  })
})
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
after(() => {
  server.close()
  rmSync(folder, { recursive: true })
})

async function open(type: string, properties: Record<string, string>) {
  const row = bindingDrivers.find((driver) => driver.type === type)
  assert.ok(row, type)
  const binding = (await row.load()).create({ name: 'b', type, version: 'v1', properties, appId: 'app', namespace: 'default', log })
  await binding.init(AbortSignal.timeout(5000))
  return binding
}
const request = (operation: string, data = '', metadata: Record<string, string> = {}) => ({ operation, data: Buffer.from(data), metadata })

const files = { operations: ['create', 'get', 'list', 'delete'], read: false, createMetadata: { fileName: 'conf.json' } }
bindingConformance('bindings.localstorage', files, () => open('bindings.localstorage', { rootPath: join(folder, 'conf') }))
const verbs = ['create', 'get', 'head', 'post', 'put', 'patch', 'delete', 'options', 'trace']
bindingConformance('bindings.http', { operations: verbs, read: false }, () => open('bindings.http', { url }))
bindingConformance('bindings.cron', { operations: [], read: true }, () => open('bindings.cron', { schedule: '@every 1s' }))
bindingConformance('bindings.cron, six fields', { operations: [], read: true }, () => open('bindings.cron', { schedule: '* * * * * *' }))

test('localstorage keeps every name below its root', async () => {
  const root = join(folder, 'escape')
  await using binding = await open('bindings.localstorage', { rootPath: root })
  await assert.rejects(async () => binding.invoke?.(request('get', '', { fileName: '../../etc/passwd' })), {
    message: `file not found: ${root}/etc/passwd`,
  })
  symlinkSync('/etc', join(root, 'out'))
  await assert.rejects(async () => binding.invoke?.(request('get', '', { fileName: 'out/passwd' })), /leads out of rootPath/)
  symlinkSync(join(folder, 'not-yet'), join(root, 'dangling'))
  await assert.rejects(async () => binding.invoke?.(request('create', 'x', { fileName: 'dangling' })))
})

test('localstorage writes a JSON string without quotes and decodes Base64', async () => {
  const root = join(folder, 'content')
  await using binding = await open('bindings.localstorage', { rootPath: root })
  assert.equal((await binding.invoke?.(request('list')))?.data?.toString(), 'null')
  const made = await binding.invoke?.(request('create', '"hello"', { fileName: 'd/f.txt' }))
  assert.equal(made?.data?.toString(), '{"fileName":"d/f.txt"}')
  assert.equal(readFileSync(join(root, 'd/f.txt'), 'utf8'), 'hello')
  assert.equal((await binding.invoke?.(request('list')))?.data?.toString(), JSON.stringify([join(root, 'd/f.txt')]))
  await binding.invoke?.(request('create', '"note"', { fileName: 'n' }))
  assert.deepEqual(readFileSync(join(root, 'n')), Buffer.from('note', 'base64'))
  await assert.rejects(open('bindings.localstorage', { rootPath: '/proc/self' }), /is not allowed/)
})

test('http sends bodies and capital metadata, gives back headers in canonical form', async () => {
  await using binding = await open('bindings.http', { url })
  const posted = await binding.invoke?.(request('post', '{"z":1}', { path: '/echo', 'X-Own': 'h', lower: 'no' }))
  assert.deepEqual(JSON.parse(String(posted?.data)), {
    method: 'POST',
    url: '/echo',
    type: 'application/json; charset=utf-8',
    own: 'h',
    body: '{"z":1}',
  })
  assert.equal(posted?.metadata?.statusCode, '200')
  assert.equal(posted?.metadata?.status, '200 OK')
  assert.equal(posted?.metadata?.['X-App'], 'yes')
  const got = await binding.invoke?.(request('get', 'null', { path: 'echo' }))
  assert.deepEqual(JSON.parse(String(got?.data)), { method: 'GET', url: '/echo', body: '' })
})

test('http: a status outside 2xx is an error with the answer, unless the request says otherwise', async () => {
  await using binding = await open('bindings.http', { url })
  await assert.rejects(
    async () => binding.invoke?.(request('get', '', { path: '/status/500' })),
    (error: Error) => error.message === 'received status code 500' && responseOf(error)?.metadata?.statusCode === '500',
  )
  assert.equal(
    (await binding.invoke?.(request('get', '', { path: '/status/500', errorIfNot2XX: 'false' })))?.metadata?.status,
    '500 Internal Server Error',
  )
  await using below = await open('bindings.http', { url: `${url}/base` })
  await assert.rejects(async () => below.invoke?.(request('get', '', { path: '../status/200' })), /leads out of the binding's url/)
})

test('http: a response larger than allowed is refused', async () => {
  await using binding = await open('bindings.http', { url, maxResponseBodySize: '10' })
  await assert.rejects(async () => binding.invoke?.(request('get')), /larger than maxResponseBodySize/)
})

test('cron reads the notations of robfig and refuses others', () => {
  for (const schedule of ['@hourly', '@midnight', '@every 1h30m', '*/5 * * * *', '0 30 3 ? * 1-5', 'TZ=Europe/Berlin 0 8 * * *'])
    assert.ok(parseSchedule(schedule), schedule)
  for (const schedule of ['', 'often', '@sometimes', '@every soon', '@every 15', '61 * * * *', '* * * * * * *'])
    assert.throws(() => parseSchedule(schedule), schedule)
})

import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { startSidecar } from '../../test/sidecar.ts'

const here = dirname(fileURLToPath(import.meta.url))
// Where grpcio is installed; the tests of the SDKs bring it (node test/sdk/install.ts dotnet).
const brought = join(here, '..', '..', 'test', 'sdk', 'dotnet', '.venv', 'bin', 'python')
const python = process.env.OUTRIDER_PYTHON ?? (existsSync(brought) ? brought : 'python3')
const found = spawnSync(python, ['-c', 'import grpc, grpc_tools, grpc_reflection'], { encoding: 'utf8' })
const skip =
  found.status === 0
    ? false
    : `${python} cannot import grpc, grpc_tools and grpc_reflection: node test/sdk/install.ts dotnet, or name another with OUTRIDER_PYTHON`
if (skip && process.env.OUTRIDER_REQUIRE_SERVERS === '1') throw new Error(`OUTRIDER_REQUIRE_SERVERS=1 but ${skip}`)

async function startStore(sockets: string): Promise<ChildProcess> {
  const child = spawn(python, [join(here, 'file_store.py')], {
    env: { ...process.env, DAPR_COMPONENTS_SOCKETS_FOLDER: sockets },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  for await (const line of createInterface({ input: child.stdout as NonNullable<typeof child.stdout> }))
    if (line.startsWith('listening')) return child
  throw new Error('the component ended before it listened')
}

test('the store in Python keeps state for a sidecar, and the sidecar goes on with it after its restart', {
  skip,
  timeout: 60_000,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'outrider-example-'))
  const sockets = join(folder, 'sockets')
  const resources = join(folder, 'resources')
  mkdirSync(sockets)
  cpSync(join(here, 'resources'), resources, { recursive: true })
  const file = join(resources, 'store.yaml')
  writeFileSync(file, readFileSync(file, 'utf8').replace('/tmp/file-store', join(folder, 'values')))
  process.env.DAPR_COMPONENTS_SOCKETS_FOLDER = sockets
  let store = await startStore(sockets)
  try {
    await using sidecar = await startSidecar({ appId: 'demo', dataDir: folder, resources })
    const url = `${sidecar.http}/v1.0/state/filestore`
    const save = (value: string) => fetch(url, { method: 'POST', body: JSON.stringify([{ key: 'greeting', value }]) })
    assert.equal((await save('hello')).status, 204)
    assert.equal(await (await fetch(`${url}/greeting`)).text(), '"hello"')
    assert.equal((await fetch(`${url}/other`)).status, 204)
    assert.equal(readdirSync(join(folder, 'values')).length, 1)

    store.kill('SIGKILL')
    await once(store, 'exit')
    const broken = await fetch(`${url}/greeting`)
    assert.equal(broken.status, 500)
    assert.match(await broken.text(), /Unavailable/)
    store = await startStore(sockets)
    assert.equal(await (await fetch(`${url}/greeting`)).text(), '"hello"')

    const many = ['a', 'b', 'c'].map((key) => ({ key, value: key }))
    assert.equal((await fetch(url, { method: 'POST', body: JSON.stringify(many) })).status, 204)
    const bulk = await fetch(`${url}/bulk`, { method: 'POST', body: JSON.stringify({ keys: ['a', 'b', 'none'] }) })
    const items = (await bulk.json()) as { key: string; data?: unknown }[]
    assert.deepEqual(
      items.map(({ key, data }) => [key, data]),
      [
        ['a', 'a'],
        ['b', 'b'],
        ['none', undefined],
      ],
    )
    assert.equal((await fetch(`${url}/greeting`, { method: 'DELETE' })).status, 204)
    assert.equal((await fetch(`${url}/greeting`)).status, 204)
  } finally {
    store.kill('SIGKILL')
    delete process.env.DAPR_COMPONENTS_SOCKETS_FOLDER
    rmSync(folder, { recursive: true, force: true })
  }
})

import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Address, Resolver } from '../resolver.ts'
import { openResolver } from '../resolver-registry.ts'
import { createLocalFirst } from './local-first.ts'

const UP = 'ip link set lo up multicast on'
/** A network of its own needs rights that not every machine gives. */
const NAMESPACE = process.platform === 'linux' && spawnSync('unshare', ['-n', 'sh', '-c', UP]).status === 0

interface Reply {
  status: number
  text: string
  milliseconds: number
}

test('two sidecars that share nothing but the link find each other; a missing app costs one browse', {
  skip: NAMESPACE ? false : 'unshare -n is not permitted here',
}, async () => {
  const harness = fileURLToPath(new URL('link-harness.ts', import.meta.url))
  const { stdout } = await promisify(execFile)('unshare', ['-n', 'sh', '-c', `${UP} && exec "$0" "$1"`, process.execPath, harness])
  const { there, back, missing, left } = JSON.parse(stdout) as { there: Reply; back: Reply; missing: [Reply, Reply]; left: Reply }
  assert.deepEqual([there.status, there.text], [200, 'one got GET /hello'])
  assert.deepEqual([back.status, back.text], [200, 'two got GET /hello'])
  for (const reply of [...missing, left]) assert.match(reply.text, /couldn't find service: (nobody|one)/)
  assert.ok(missing[1].milliseconds < missing[0].milliseconds / 2, JSON.stringify(missing))
})

test('without configuration: found in the registry of this machine, whether or not there is a network', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'names-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const context = {
    appId: 'a',
    namespace: 'default',
    registryFile: join(folder, 'shared.db'),
    log: { debug() {}, info() {}, warn() {} } as never,
  }
  const [one, two] = [await openResolver(undefined, context), await openResolver({ component: 'embedded' }, context)]
  t.after(() => Promise.all([one[Symbol.asyncDispose](), two[Symbol.asyncDispose]()]))
  const appId = `app-${process.pid}`
  await one.register({ appId, namespace: 'default', host: '127.0.0.1', port: 4711 })
  assert.deepEqual(await two.resolve(appId, 'default'), [{ host: '127.0.0.1', port: 4711 }])
  const began = performance.now()
  assert.deepEqual(await two.resolve('nobody', 'default'), [])
  assert.ok(performance.now() - began < 500)
})

test('the network is asked only for what the registry does not know; whoever finds it first answers', async () => {
  const here = new Map<string, Address[] | Promise<Address[]>>()
  const there = new Map<string, Address[] | Promise<Address[]>>()
  const asked: string[] = []
  const fake = (answers: Map<string, Address[] | Promise<Address[]>>, note?: string[]): Resolver => ({
    resolve(appId) {
      note?.push(appId)
      return answers.get(appId) ?? []
    },
    invalidate() {},
    register: async () => ({ async [Symbol.asyncDispose]() {} }),
    async [Symbol.asyncDispose]() {},
  })
  const resolver = createLocalFirst(fake(here), fake(there, asked))
  const address = { host: '10.0.0.1', port: 1 }
  here.set('known', [address])
  assert.deepEqual(resolver.resolve('known', ''), [address])
  assert.deepEqual(asked, [])
  there.set('remote', [address])
  assert.deepEqual(resolver.resolve('remote', ''), [address])
  assert.deepEqual(resolver.resolve('nobody', ''), [])
  here.set('late', new Promise(() => {}))
  there.set('late', Promise.resolve([address]))
  assert.deepEqual(await resolver.resolve('late', ''), [address])
  here.set('failing', Promise.reject(new Error('no file')))
  there.set('failing', Promise.resolve([address]))
  assert.deepEqual(await resolver.resolve('failing', ''), [address])
  here.set('refused', Promise.reject(new Error('no file')))
  there.set('refused', [address])
  assert.deepEqual(resolver.resolve('refused', ''), [address])
  here.set('broken', Promise.reject(new Error('no file')))
  await assert.rejects(async () => resolver.resolve('broken', ''), /no file/)
})

import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { freePort } from './servers/process.ts'
import { type SidecarProcess, startSidecar } from './sidecar.ts'

// A component that cannot start, under the real sidecar: whom it takes with it, and who decides that.
const root = mkdtempSync(join(tmpdir(), 'outrider-component-errors-'))
after(() => rmSync(root, { recursive: true, force: true }))
const LIMIT = { timeout: 30_000 }

/** A sidecar with a store that works, and beside it one of these properties. */
function start(name: string, properties: Record<string, string>, more: object, args: readonly string[] = []): Promise<SidecarProcess> {
  const dataDir = join(root, name)
  const resources = join(dataDir, 'resources')
  mkdirSync(resources, { recursive: true })
  const store = (store: string, type: string, values: Record<string, string>, rest: object = {}) => {
    const metadata = Object.entries(values).map(([field, value]) => ({ name: field, value }))
    const resource = { apiVersion: 'dapr.io/v1alpha1', kind: 'Component', metadata: { name: store } }
    writeFileSync(join(resources, `${store}.yaml`), JSON.stringify({ ...resource, spec: { type, version: 'v1', metadata, ...rest } }))
  }
  store('good', 'state.in-memory', {})
  store('bad', 'state.redis', properties, more)
  return startSidecar({ appId: `errors-${name}-${process.pid}`, dataDir, resources, args, readyAt: '/v1.0/healthz/outbound' })
}

async function works(sidecar: SidecarProcess): Promise<void> {
  const answer = await fetch(`${sidecar.http}/v1.0/state/good`, { method: 'POST', body: '[{"key":"k","value":1}]' })
  assert.equal(answer.status, 204)
}

async function bad(sidecar: SidecarProcess): Promise<{ state: string; error?: string }> {
  const health = (await (await fetch(`${sidecar.http}/v1.0/healthz?verbose`)).json()) as {
    parts: { name: string; state: string; error?: string }[]
  }
  return health.parts.find(({ name }) => name === 'bad') ?? { state: 'not there' }
}

test('a mistake in a component ends the sidecar, as daprd, and says which', LIMIT, async () => {
  await assert.rejects(
    start('fatal', { redisHost: '' }, {}),
    /outriderd ended:.*INIT_COMPONENT_FAILURE\]: initialization error occurred for bad \(state\.redis\/v1\): .*redisHost/s,
  )
})

test('with ignoreErrors the others work, and health says what is wrong with that one', LIMIT, async () => {
  await using sidecar = await start('ignored', { redisHost: '' }, { ignoreErrors: true })
  await works(sidecar)
  const { state, error } = await bad(sidecar)
  assert.equal(state, 'failed')
  assert.match(error ?? '', /redisHost/)
  assert.match(sidecar.log(), /Ignoring error processing component: .*bad/)
  assert.equal((await fetch(`${sidecar.http}/v1.0/healthz`)).status, 204)
  const answer = await fetch(`${sidecar.http}/v1.0/state/bad/k`)
  assert.deepEqual([answer.status, /bad is not/.test(await answer.text())], [400, true])
})

test('a server that is away takes nobody with it: it is tried again, after growing waits', LIMIT, async () => {
  const redisHost = `127.0.0.1:${await freePort()}`
  await using sidecar = await start('away', { redisHost, dialTimeout: '200ms' }, {})
  await works(sidecar)
  const waits = () => [...sidecar.log().matchAll(/Component bad \(state\.redis\) cannot reach its server: .*?next attempt in ([\d.]+)s/g)]
  while (waits().length < 4) await pause(20)
  assert.deepEqual(
    waits()
      .slice(0, 4)
      .map(([, seconds]) => Number(seconds)),
    [0.25, 0.5, 1, 2],
  )
  assert.equal((await bad(sidecar)).state, 'retrying')
})

test('where it shall be as with daprd, a server that is away ends the sidecar', LIMIT, async () => {
  const properties = { redisHost: `127.0.0.1:${await freePort()}`, dialTimeout: '200ms' }
  await assert.rejects(
    start('strict', properties, {}, ['--outrider-exit-on-unreachable']),
    /outriderd ended:.*INIT_COMPONENT_FAILURE\]: initialization error occurred for bad/s,
  )
})

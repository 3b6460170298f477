import assert from 'node:assert/strict'
import { linkSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { once } from '../blocks/around.ts'
import type { StateStore } from '../blocks/state/driver.ts'
import { createStateBlock } from '../blocks/state/state.ts'
import type { DriverModule } from '../components/component.ts'
import { serveComponent } from '../components/pluggable/testing/server.ts'
import { OutriderError } from '../errors.ts'
import { createLogger } from '../telemetry/log.ts'
import { ComponentManager, type ComponentManagerOptions } from './component-manager.ts'
import { ComponentInitError } from './component-status.ts'
import { findDriver } from './drivers.ts'
import { InFlight } from './in-flight.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const sockets = mkdtempSync(join(tmpdir(), 'outrider-manager-'))
after(() => rmSync(sockets, { recursive: true, force: true }))
const limit = { timeout: 20_000 }

const spec = (name: string, type: string, properties: Record<string, string> = {}) => ({
  name,
  type,
  version: 'v1',
  ignoreErrors: false,
  initTimeoutMs: 10_000,
  properties,
})

/** A manager with a state block whose own checks it applies, as the sidecar wires them. */
function setUp(options: Partial<ComponentManagerOptions> = {}, inFlight = new InFlight()) {
  const manager = new ComponentManager({
    appId: 'app',
    namespace: 'default',
    log,
    retryUnreachable: true,
    sockets,
    check: (block, component) => {
      if (block === 'state') state.check(component as never)
    },
    ...options,
  })
  const state = createStateBlock({
    stores: manager.set<StateStore>('state'),
    appId: 'app',
    namespace: 'default',
    around: inFlight.around(once),
  })
  return { manager, state }
}

/** A socket file that nobody listens at any more. */
async function staleSocket(name: string): Promise<string> {
  const path = join(sockets, `${name}.sock`)
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(`${path}.tmp`, resolve))
  linkSync(`${path}.tmp`, path)
  await new Promise((resolve) => server.close(resolve))
  return path
}

const memory = (await findDriver('state.in-memory', 'v1')) as DriverModule<StateStore>

test('a component that waits for its server is told apart from one that is not there', limit, async () => {
  const came = Promise.withResolvers<void>()
  const { manager, state } = setUp({ onChange: () => came.resolve() })
  const socket = await staleSocket('late')
  await manager.add(spec('slow', 'state.late'))
  const get = (store: string) => state.get(store, { key: 'k', metadata: {} })
  await assert.rejects(get('slow'), (error) => {
    assert.ok(error instanceof OutriderError)
    assert.deepEqual([error.code, error.http], ['ERR_STATE_STORE_NOT_CONFIGURED', 500])
    assert.match(
      error.message,
      /^state store slow is not configured: component slow \(state\.late\) cannot reach its server, retrying since \d{4}-.*Z, last error: .*late\.sock/,
    )
    assert.match(error.hint ?? '', /tried again by itself/)
    return true
  })
  await assert.rejects(get('other'), { message: 'state store other is not configured' })
  rmSync(socket)
  await using _server = await serveComponent({ socket, state: memory })
  await came.promise
  assert.equal(await get('slow'), undefined)
  await assert.rejects(get('other'), { message: 'state store other is not found' })
  assert.equal(manager.statuses()[0]?.since, undefined)
  await manager.close()
})

test('a store that comes late is checked as one that was there: a wrong setting makes it failed, it is not retried', limit, async () => {
  const { manager, state } = setUp()
  const socket = await staleSocket('wrong')
  await manager.add(spec('wrong', 'state.wrong', { keyPrefix: 'a||b' }))
  assert.equal(manager.statuses()[0]?.state, 'retrying')
  rmSync(socket)
  await using server = await serveComponent({ socket, state: memory })
  await server.called('StateStore/Init')
  // The status changes when the check has run, which needs the answers to Init and Features first.
  await server.called('StateStore/Features')
  while (manager.retrying().length > 0) await new Promise((resolve) => setImmediate(resolve))
  assert.equal(manager.statuses()[0]?.state, 'failed')
  assert.match(manager.statuses()[0]?.error ?? '', /keyPrefix|a\|\|b/)
  await assert.rejects(state.get('wrong', { key: 'k', metadata: {} }), { code: 'ERR_STATE_STORE_NOT_CONFIGURED' })
  await manager.close()
})

test('without a sockets folder, and for a socket that no resource names, nothing is asked', limit, async () => {
  await staleSocket('unused')
  const { manager } = setUp()
  await manager.add(spec('mem', 'state.in-memory'))
  assert.equal(manager.statuses()[0]?.state, 'up')
  await manager.close()
  const nowhere = { sockets: join(sockets, 'nowhere'), log }
  assert.ok(await findDriver('state.in-memory', 'v1', nowhere))
  await assert.rejects(findDriver('state.unknown', 'v1', nowhere), /couldn't find state state.unknown\/v1/)
})

test('a pluggable component wins over a driver of the same name', limit, async () => {
  await using _server = await serveComponent({ socket: join(sockets, 'in-memory.sock'), state: memory })
  const driver = await findDriver('state.In-Memory', '', { sockets, log })
  assert.match(driver.summary, /in-memory\.sock/)
})

/** A store that answers reads when told to, and notes when it is closed. */
function slowStore() {
  const asked = Promise.withResolvers<void>()
  const answer = Promise.withResolvers<void>()
  const driver: DriverModule<StateStore> = {
    ...memory,
    create(context) {
      const store = memory.create(context)
      const get = store.get.bind(store)
      store.get = async (...given) => {
        asked.resolve()
        await answer.promise
        return get(...given)
      }
      return store
    },
  }
  return { driver, asked: asked.promise, answer: answer.resolve }
}

test('a call under way ends on the old instance, which is closed after it; new calls use the new one', limit, async () => {
  const inFlight = new InFlight()
  let idle = false
  const retired = Promise.withResolvers<void>()
  const { manager, state } = setUp(
    {
      retire: async (name) => {
        idle = await inFlight.retire(name, 10_000)
        retired.resolve()
      },
    },
    inFlight,
  )
  const slow = slowStore()
  await using _server = await serveComponent({ socket: join(sockets, 'replaced.sock'), state: slow.driver })
  await manager.add(spec('store', 'state.replaced'))
  const read = state.get('store', { key: 'k', metadata: {} })
  await slow.asked
  await manager.put(spec('store', 'state.in-memory'))
  assert.equal(await state.get('store', { key: 'k', metadata: {} }), undefined)
  assert.equal(idle, false, 'the old one still has a call')
  slow.answer()
  assert.equal(await read, undefined)
  await retired.promise
  assert.equal(idle, true)
  assert.equal(manager.statuses()[0]?.type, 'state.in-memory')
  await manager.close()
})

test('a version that cannot be used leaves the one that runs; one whose server is away takes its place when it comes', limit, async () => {
  const changed: string[] = []
  const came = Promise.withResolvers<void>()
  const { manager, state } = setUp({
    onChange: (block, name) => {
      changed.push(`${block} ${name}`)
      came.resolve()
    },
  })
  await manager.add(spec('store', 'state.in-memory'))
  await assert.rejects(manager.put(spec('store', 'state.sqlite')), ComponentInitError)
  const socket = await staleSocket('away')
  await manager.put(spec('store', 'state.away'))
  assert.deepEqual(
    manager.statuses().map(({ type, state }) => [type, state]),
    [['state.in-memory', 'up']],
  )
  await state.get('store', { key: 'k', metadata: {} })
  assert.deepEqual(changed, [])
  rmSync(socket)
  await using _server = await serveComponent({ socket, state: memory })
  await came.promise
  assert.equal(manager.statuses()[0]?.type, 'state.away')
  manager.remove('store')
  assert.deepEqual(manager.statuses(), [])
  await assert.rejects(state.get('store', { key: 'k', metadata: {} }), { code: 'ERR_STATE_STORE_NOT_CONFIGURED' })
  await manager.close()
})

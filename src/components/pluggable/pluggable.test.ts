import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import type { Binding, BindingEvent } from '../../blocks/bindings/driver.ts'
import type { MessageHandler, PubSub } from '../../blocks/pubsub/driver.ts'
import { EtagError, type StateStore } from '../../blocks/state/driver.ts'
import { Code, OutriderError } from '../../errors.ts'
import { createLogger } from '../../telemetry/log.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
import type { Component, DriverModule } from '../component.ts'
import { stateDrivers } from '../state/registry.ts'
import type { PluggablePubSub } from './pubsub.ts'
import { pluggableDriver } from './registry.ts'
import { MultiMaxSizeResponse } from './state-messages.ts'
import { ErrorInfo, serveComponent } from './testing/server.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const folder = mkdtempSync(join(tmpdir(), 'outrider-plugged-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const limit = { timeout: 20_000 }

let sockets = 0
const newSocket = () => join(folder, `peer${++sockets}.sock`)
const memory = (await stateDrivers.find((row) => row.type === 'state.in-memory')?.load()) as DriverModule<StateStore>

async function open<T extends Component>(block: string, socket: string, name = 'it', properties: Record<string, string> = {}): Promise<T> {
  const driver = await pluggableDriver(block, socket, log)
  assert.ok(driver)
  const component = driver.create({ name, type: `${block}.peer`, version: 'v1', properties, appId: 'test', namespace: '', log })
  await component.init(AbortSignal.timeout(10_000))
  return component as T
}

const module = <T extends Component>(component: Omit<T, 'init' | typeof Symbol.asyncDispose>): DriverModule<T> => ({
  summary: '',
  metadata: [],
  create: () => ({ ...component, init: async () => {}, [Symbol.asyncDispose]: async () => {} }) as unknown as T,
})
const upsert = (key: string, etag?: string) => ({ kind: 'upsert' as const, key, value: Buffer.from('1'), json: true, metadata: {}, etag })

test('one server keeps the components of two resources apart', limit, async () => {
  const socket = newSocket()
  await using server = await serveComponent({ socket, state: memory })
  await using one = await open<StateStore>('state', socket, 'one')
  await using two = await open<StateStore>('state', socket, 'two')
  await one.set(upsert('k'))
  assert.equal(await two.get({ key: 'k', metadata: {} }), undefined)
  assert.deepEqual(
    server.calls.filter((call) => !call.includes('Features')),
    ['StateStore/Init one', 'StateStore/Init two', 'StateStore/Set one', 'StateStore/Get two'],
  )
})

test('a component that died and returned is initialised again before it is used', limit, async () => {
  const socket = newSocket()
  const first = await serveComponent({ socket, state: memory })
  await using store = await open<StateStore>('state', socket)
  await store.set(upsert('k'))
  await first[Symbol.asyncDispose]()
  await assert.rejects(async () => store.get({ key: 'k', metadata: {} }), /code = Unavailable/)
  await using second = await serveComponent({ socket, state: memory })
  await store.set(upsert('k'))
  assert.deepEqual(second.calls, ['StateStore/Init it', 'StateStore/Features it', 'StateStore/Set it'])
})

test('a subscription outlives its component, which gives again what was not acknowledged', limit, async () => {
  const socket = newSocket()
  // A broker that keeps a message until its handler has taken it.
  const kept = ['a', 'b']
  const subscribe: PubSub['subscribe'] = async (topic, _metadata, handler) => {
    const run = async () => {
      for (const text of [...kept]) {
        await handler({ topic, data: Buffer.from(text), metadata: {} }, AbortSignal.timeout(10_000))
        kept.splice(kept.indexOf(text), 1)
      }
    }
    void run().catch(() => {})
    return { [Symbol.asyncDispose]: async () => {} }
  }
  const broker = module<PubSub>({ features: [], publish: async () => {}, subscribe })
  const first = await serveComponent({ socket, pubsub: broker })
  await using pubsub = await open<PubSub>('pubsub', socket)
  const seen: string[] = []
  const [stuck, both] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const handler: MessageHandler = async (message) => {
    seen.push(message.data.toString())
    if (seen.length === 2) {
      // The second message is in our hands when the component dies.
      stuck.resolve()
      await first[Symbol.asyncDispose]()
    }
    if (seen.length === 3) both.resolve()
  }
  await using _subscription = await pubsub.subscribe('t', {}, handler)
  await stuck.promise
  await first[Symbol.asyncDispose]()
  await using _second = await serveComponent({ socket, pubsub: broker })
  await both.promise
  assert.deepEqual(seen, ['a', 'b', 'b'])
})

test('a handler that gathers gets as many messages at once as it asks for', limit, async () => {
  const socket = newSocket()
  const answered: string[] = []
  const subscribe: PubSub['subscribe'] = async (topic, _metadata, handler) => {
    for (const text of ['a', 'b', 'c', 'd'])
      void handler({ topic, data: Buffer.from(text), metadata: {} }, AbortSignal.timeout(10_000)).then(
        () => answered.push(text),
        () => {},
      )
    return { [Symbol.asyncDispose]: async () => {} }
  }
  await using _server = await serveComponent({ socket, pubsub: module<PubSub>({ features: [], publish: async () => {}, subscribe }) })
  await using pubsub = await open<PluggablePubSub>('pubsub', socket)
  const seen: string[] = []
  const [three, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const handler: MessageHandler = async (message) => {
    seen.push(message.data.toString())
    if (seen.length === 3) three.resolve()
    await gate.promise
  }
  const subscription = await pubsub.subscribe('t', {}, handler, { batch: 3 })
  await three.promise
  assert.deepEqual([seen, answered], [['a', 'b', 'c'], []])
  // The end waits for the three, and leaves the fourth to the component.
  const ended = subscription[Symbol.asyncDispose]()
  gate.resolve()
  await ended
  assert.deepEqual([seen.length, answered], [3, ['a', 'b', 'c']])
})

test('an input binding outlives its component; what comes after the end is refused', limit, async () => {
  const socket = newSocket()
  let feed: ((event: BindingEvent) => Promise<Buffer | undefined>) | undefined
  let reading = Promise.withResolvers<void>()
  const input = module<Binding>({
    async read(handler) {
      feed = handler
      reading.resolve()
      return { [Symbol.asyncDispose]: async () => {} }
    },
  })
  const first = await serveComponent({ socket, input })
  await using binding = await open<Binding>('bindings', socket)
  const [busy, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const reader = await binding.read?.(async ({ data }) => {
    if (data.toString() === 'slow') {
      busy.resolve()
      await gate.promise
    }
    return Buffer.from(`${data} taken`)
  })
  await reading.promise
  await first[Symbol.asyncDispose]()
  reading = Promise.withResolvers<void>()
  await using _second = await serveComponent({ socket, input })
  await reading.promise
  assert.equal((await feed?.({ data: Buffer.from('x'), metadata: {} }))?.toString(), 'x taken')
  const slow = feed?.({ data: Buffer.from('slow'), metadata: {} })
  await busy.promise
  const ended = reader?.[Symbol.asyncDispose]()
  await assert.rejects(async () => feed?.({ data: Buffer.from('late'), metadata: {} }), { message: 'input binding is closed' })
  gate.resolve()
  assert.equal((await slow)?.toString(), 'slow taken')
  await ended
})

test('errors of a state component mean what the protocol says', limit, async () => {
  const socket = newSocket()
  const withInfo = (code: Code, text: string, metadata: Record<string, string>) => () => {
    const value = ErrorInfo.encode({ reason: 'why', domain: 'peer.example', metadata })
    throw new GrpcStatus(code, text, { details: [{ typeUrl: 'type.googleapis.com/google.rpc.ErrorInfo', value }] })
  }
  await using _server = await serveComponent({
    socket,
    state: memory,
    instead: {
      'StateStore/Get': withInfo(Code.DataLoss, 'lost', { kit_error: 'true', http_code: '506', tag: 'PEER_LOST' }),
      'StateStore/BulkDelete': withInfo(Code.Internal, 'rows', { expected: '3', affected: '2' }),
      'StateStore/BulkGet': withInfo(Code.Internal, 'rows', { expected: '3', affected: '2' }),
      'TransactionalStoreMultiMaxSize/MultiMaxSize': () => MultiMaxSizeResponse.encode({ maxSize: 7 }),
    },
  })
  await using store = await open<StateStore>('state', socket)
  await assert.rejects(store.get({ key: 'k', metadata: {} }), (error) => {
    assert.ok(error instanceof OutriderError)
    assert.deepEqual([error.code, error.http, error.grpc, error.message], ['PEER_LOST', 506, Code.DataLoss, 'lost'])
    assert.partialDeepStrictEqual(error.details, [{ domain: 'peer.example', reason: 'why' }])
    return true
  })
  await assert.rejects(async () => store.bulkDelete?.([]), { message: 'delete affected only 2 rows, expected 3' })
  await assert.rejects(async () => store.bulkGet?.([]), { message: 'rpc error: code = Internal desc = rows' })
  await store.set(upsert('k'))
  await assert.rejects(store.set(upsert('k', 'other')), (error) => error instanceof EtagError && error.kind === 'mismatch')
})

test('a store without the call for it takes transactions of any size', limit, async () => {
  const socket = newSocket()
  await using _server = await serveComponent({ socket, state: memory })
  await using store = await open<StateStore>('state', socket)
  assert.equal(await store.maxTransactionSize?.(), undefined)
})

test('a server is asked what it serves by either version of reflection', limit, async () => {
  const socket = newSocket()
  await using _server = await serveComponent({ socket, state: memory, reflection: 'v1' })
  assert.ok(await pluggableDriver('state', socket, log))
  assert.equal(await pluggableDriver('pubsub', socket, log), undefined)
})

test('a socket that does not answer, or has no reflection, is named with what to do', limit, async () => {
  const silent = newSocket()
  await using _server = await serveComponent({ socket: silent, state: memory, reflection: 'none' })
  await assert.rejects(pluggableDriver('state', silent, log), (error: Error) => {
    assert.ok(error.message.includes(silent), error.message)
    assert.match(error.message, /gRPC server reflection/)
    return true
  })
  const refusing = newSocket()
  const server = createServer((socket) => socket.destroy()).listen(refusing)
  await new Promise((resolve) => server.once('listening', resolve))
  await assert.rejects(pluggableDriver('state', refusing, log), (error: Error) => error.message.includes(refusing))
  await new Promise((resolve) => server.close(resolve))
  const file = join(folder, 'not-a.socket')
  writeFileSync(file, '')
  assert.equal(await pluggableDriver('state', file, log), undefined)
})

import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { driver as memoryPubSub } from '../../components/pubsub/in-memory/driver.ts'
import type { Named } from '../../components/sets.ts'
import { driver as memoryState } from '../../components/state/in-memory/driver.ts'
import { Code, OutriderError } from '../../errors.ts'
import { createLogger } from '../../telemetry/log.ts'
import type { PubSub } from '../pubsub/driver.ts'
import { createPublisher } from '../pubsub/publish.ts'
import type { StateStore } from '../state/driver.ts'
import type { TransactionItem } from '../state/items.ts'
import { createStateBlock } from '../state/state.ts'
import { valueFromBytes, valueFromJson } from '../state/value.ts'
import { goText } from './go-text.ts'
import { createOutbox } from './outbox.ts'

type Event = Record<string, unknown>
const OUTBOX = { outboxpublishpubsub: 'ps', outboxpublishtopic: 'orders' }
const QUICK = { first: 1, most: 5, total: 40 }

/** An app `app` in namespace `ns` with a broker `ps` and the stores given by their properties. */
async function setup(
  test: TestContext,
  properties: Record<string, Record<string, string>> = { store: OUTBOX },
  { broker = {}, total = 5000, start = true }: { broker?: Record<string, string>; total?: number; start?: boolean } = {},
) {
  const lines: string[] = []
  const waiters = new Set<() => void>()
  const write = (line: string) => {
    lines.push(line)
    for (const wake of waiters) wake()
  }
  const log = createLogger({ level: 'debug', json: false, appId: 'app', version: 'test', write })
  const context = (name: string, given: Record<string, string>) => ({
    name,
    type: 'x.in-memory',
    version: 'v1',
    properties: given,
    appId: 'app',
    namespace: 'ns',
    log,
  })
  const named = <T>(name: string, component: T, given: Record<string, string>): Named<T> => ({
    name,
    type: 'x.in-memory',
    version: 'v1',
    component,
    properties: given,
  })

  const pubsub = memoryPubSub.create(context('ps', { redeliverInterval: '1ms', maxRedeliverInterval: '5ms', concurrency: '10' }))
  const pubsubs = new Map<string, Named<PubSub>>([['ps', named('ps', pubsub, broker)]])
  const stores = new Map<string, Named<StateStore>>()
  for (const [name, given] of Object.entries(properties)) stores.set(name, named(name, memoryState.create(context(name, given)), given))

  const publisher = createPublisher({ components: pubsubs, appId: 'app', namespace: 'ns' })
  const outbox = createOutbox({ stores, pubsubs, publisher, appId: 'app', namespace: 'ns', log, patience: { ...QUICK, total } })
  const state = createStateBlock({ stores, appId: 'app', namespace: 'ns', publishOutbox: outbox.publish })
  if (start) await outbox.start()
  test.after(async () => {
    await outbox[Symbol.asyncDispose]()
    await pubsub[Symbol.asyncDispose]()
    for (const { component } of stores.values()) await component[Symbol.asyncDispose]()
  })

  const heard: Event[] = []
  const listen = (topic: string) =>
    pubsub.subscribe(topic, {}, async ({ data }) => {
      heard.push(JSON.parse(data.toString()) as Event)
      for (const wake of waiters) wake()
    })
  await listen('orders')
  const until = async (done: () => unknown) => {
    while (!done()) {
      const { promise, resolve } = Promise.withResolvers<void>()
      waiters.add(resolve)
      await promise
      waiters.delete(resolve)
    }
  }
  const event = async (): Promise<Event> => {
    await until(() => heard.length > 0)
    return heard.shift() as Event
  }
  const keys = async (store = 'store') =>
    (
      await (
        (stores.get(store) as Named<StateStore>).component as StateStore & {
          keysLike(pattern: string, page: object): Promise<{ keys: string[] }>
        }
      ).keysLike('%', {})
    ).keys
  return { outbox, state, stores, pubsub, pubsubs, heard, listen, event, keys, lines, until }
}
const upsert = (key: string, value: unknown, metadata: Record<string, string> = {}): TransactionItem => ({
  operation: 'upsert',
  key,
  ...valueFromJson(value),
  metadata,
})

describe('outbox', () => {
  it('carries the trace of the request, and the content type that it names beside the metadata', async (test) => {
    const { state, event } = await setup(test)
    const trace = { traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', tracestate: 'a=b' }
    await state.transact('store', [{ ...upsert('k', { b: 1, a: 2 }), contentType: 'application/json' }], {}, undefined, trace)
    const { traceid, traceparent, tracestate, data, datacontenttype } = await event()
    assert.deepEqual(
      [traceid, traceparent, tracestate, data, datacontenttype],
      [trace.traceparent, '', 'a=b', { a: 2, b: 1 }, 'application/json'],
    )
  })

  it('publishes an upsert once its transaction has run, and leaves no marker behind', async (test) => {
    const { state, event, keys, stores } = await setup(test)
    const component = stores.get('store')?.component as StateStore
    const deleted = Promise.withResolvers<string>()
    const remove = component.delete.bind(component)
    component.delete = async (item) => {
      await remove(item)
      deleted.resolve(item.key)
    }
    await state.transact('store', [upsert('k', '2')], {})
    const { id, time, ...rest } = await event()
    assert.deepEqual(rest, {
      data: '2',
      datacontenttype: 'text/plain',
      pubsubname: 'ps',
      source: 'app',
      specversion: '1.0',
      topic: 'orders',
      traceid: '',
      traceparent: '',
      tracestate: '',
      type: 'com.dapr.event.sent',
    })
    assert.match(String(id), /^outbox-[0-9a-f-]{36}$/)
    assert.match(String(time), /^\d{4}-/)
    assert.equal(await deleted.promise, id)
    assert.deepEqual(await keys(), ['app||k'])
  })

  it('makes members of the metadata, but for id and data', async (test) => {
    const { state, event } = await setup(test)
    await state.transact(
      'store',
      [upsert('k', '2', { 'outbox.cloudevent.myapp': 'myapp1', type: 'order.made', source: 'shop', topic: 'other', data: 'a', id: 'b' })],
      {},
    )
    const made = await event()
    assert.deepEqual(
      [made.data, made['outbox.cloudevent.myapp'], made.type, made.source, made.topic],
      ['2', 'myapp1', 'order.made', 'shop', 'orders'],
    )
    assert.match(String(made.id), /^outbox-/)
  })

  it('publishes the projection and stores the operation', async (test) => {
    const { state, event, keys } = await setup(test)
    await state.transact(
      'store',
      [
        upsert('k', { all: 1 }, { type: 'mine' }),
        upsert('k', { some: 2 }, { 'outbox.projection': 'true', contentType: 'application/json', type: 'its' }),
      ],
      {},
    )
    const made = await event()
    assert.deepEqual([made.data, made.datacontenttype, made.type], [{ some: 2 }, 'application/json', 'mine'])
    assert.equal((await state.get('store', { key: 'k', metadata: {} }))?.data.toString(), '{"all":1}')
    assert.equal((await keys()).filter((key) => !key.startsWith('outbox-')).length, 1)
  })

  it('carries JSON as data when its content type says so, and bytes as text', async (test) => {
    const { state, event } = await setup(test)
    const json = { contentType: 'application/json' }
    await state.transact('store', [{ operation: 'upsert', key: 'a', value: Buffer.from('{"n":1.50}'), json: true, metadata: json }], {})
    assert.deepEqual((await event()).data, { n: 1.5 })
    await state.transact('store', [{ operation: 'upsert', key: 'b', ...valueFromBytes(Buffer.from('2'), {}), metadata: {} }], {})
    const text = await event()
    assert.deepEqual([text.data, text.datacontenttype], ['2', 'text/plain'])
    await state.transact(
      'store',
      [
        {
          operation: 'upsert',
          key: 'c',
          ...valueFromBytes(Buffer.from([1, 2]), {}),
          metadata: { contentType: 'application/octet-stream' },
        },
      ],
      {},
    )
    assert.equal((await event()).data_base64, 'AQI=')
  })

  it('publishes nothing for deletes, and one event for each upsert', async (test) => {
    const { state, event, heard } = await setup(test)
    await state.transact('store', [{ operation: 'delete', key: 'k', metadata: { type: 'gone' } }], {})
    await state.transact('store', [upsert('a', 'A'), { operation: 'delete', key: 'k', metadata: {} }, upsert('b', 'B')], {})
    assert.deepEqual([(await event()).data, (await event()).data].sort(), ['A', 'B'])
    assert.equal(heard.length, 0)
  })

  it('runs no transaction whose event the broker did not take', async (test) => {
    const { state, keys, pubsubs, pubsub } = await setup(test)
    const fails = (reason: string) => (error: unknown) => {
      assert.ok(error instanceof OutriderError)
      assert.deepEqual(
        [error.code, error.http, error.grpc, error.message],
        ['ERR_PUBLISH_OUTBOX', 500, Code.Internal, `error while publishing outbox message: ${reason}`],
      )
      assert.deepEqual(error.details.at(-1)?.metadata, { appID: 'app', error: reason })
      return true
    }
    pubsub.publish = () => Promise.reject(new Error('no broker'))
    await assert.rejects(state.transact('store', [upsert('k', 1)], {}), fails('no broker'))
    pubsubs.clear()
    await assert.rejects(state.transact('store', [upsert('k', 1)], {}), fails('pubsub ps is not found'))
    assert.deepEqual(await keys(), [])
  })

  it('keeps an event whose transaction has not run yet, and publishes it when it has', async (test) => {
    const { outbox, stores, event, heard, lines, until } = await setup(test, undefined, { total: 20 })
    const store = stores.get('store') as Named<StateStore>
    const operations = await outbox.publish(store, [
      { kind: 'upsert', key: 'app||k', value: Buffer.from('"late"'), json: true, metadata: {} },
    ])
    await until(() => lines.some((line) => line.includes('rejecting it for later')))
    assert.equal(heard.length, 0)
    await store.component.transact?.(operations, {})
    assert.equal((await event()).data, 'late')
  })

  it('drops an event without a transaction when told to, but not when the store cannot be read', async (test) => {
    const { outbox, stores, event, lines, until } = await setup(
      test,
      { store: { ...OUTBOX, outboxdiscardwhenmissingstate: 'true' } },
      { total: 20 },
    )
    const store = stores.get('store') as Named<StateStore>
    const write = (value: string) =>
      outbox.publish(store, [{ kind: 'upsert', key: 'app||k', value: Buffer.from(JSON.stringify(value)), json: true, metadata: {} }])
    const dropped = await write('dropped')
    await until(() => lines.some((line) => line.includes('discarding it')))
    const get = store.component.get.bind(store.component)
    store.component.get = () => Promise.reject(new Error('store away'))
    const kept = await write('kept')
    await until(() => lines.some((line) => line.includes('store away, rejecting it for later')))
    store.component.get = get
    await store.component.transact?.([...dropped, ...kept], {})
    assert.equal((await event()).data, 'kept')
    assert.equal(lines.filter((line) => line.includes('discarding it')).length, 1)
  })

  it('publishes again when the broker of the app refused, without losing the marker', async (test) => {
    const { state, event, pubsub } = await setup(test)
    const publish = pubsub.publish.bind(pubsub)
    let refused = 0
    pubsub.publish = (request, signal) =>
      request.topic === 'orders' && refused++ < 2 ? Promise.reject(new Error('busy')) : publish(request, signal)
    await state.transact('store', [upsert('k', 'x')], {})
    assert.equal((await event()).data, 'x')
    assert.equal(refused, 3)
  })

  it('tells apart stores that share an internal topic', async (test) => {
    const { state, event, keys, heard } = await setup(test, { one: OUTBOX, two: { ...OUTBOX, keyprefix: 'none' }, plain: {} })
    await state.transact('two', [upsert('k', 'of two')], {})
    await state.transact('plain', [upsert('k', 'of none')], {})
    await state.transact('one', [upsert('k', 'of one')], {})
    assert.deepEqual([(await event()).data, (await event()).data].sort(), ['of one', 'of two'])
    assert.equal(heard.length, 0)
    assert.deepEqual(await keys('plain'), ['app||k'])
  })

  it('uses outboxPubsub and the topic <namespace><app><topic>outbox between the two', async (test) => {
    const { outbox, state, pubsubs, listen, event, stores, lines } = await setup(
      test,
      { store: { ...OUTBOX, outboxpubsub: 'inner' } },
      { start: false },
    )
    const inner = memoryPubSub.create({
      name: 'inner',
      type: 'pubsub.in-memory',
      version: 'v1',
      properties: {},
      appId: 'app',
      namespace: 'ns',
      log: createLogger({ level: 'fatal', json: false, appId: 'app', version: 'test' }),
    })
    test.after(() => inner[Symbol.asyncDispose]())
    await outbox.start()
    assert.ok(lines.some((line) => line.includes('pubsub inner is not loaded')))
    pubsubs.set('inner', { ...(pubsubs.get('ps') as Named<PubSub>), name: 'inner', component: inner })
    await outbox.refresh()
    const through = Promise.withResolvers<string>()
    await inner.subscribe('nsappordersoutbox', {}, async ({ data }) => through.resolve((JSON.parse(data.toString()) as { id: string }).id))
    await listen('nsappordersoutbox')
    await state.transact('store', [upsert('k', 'x')], {})
    const made = await event()
    assert.deepEqual([made.id, made.topic, made.pubsubname], [await through.promise, 'orders', 'ps'])
    assert.equal(stores.size, 1)
  })

  it('ends at once while an event still waits for its transaction', async (test) => {
    const { outbox, stores, lines, until } = await setup(test, undefined, { total: 600_000 })
    const store = stores.get('store') as Named<StateStore>
    const looked = Promise.withResolvers<void>()
    store.component.get = async () => void looked.resolve() as undefined
    await outbox.publish(store, [{ kind: 'upsert', key: 'app||k', value: Buffer.from('1'), json: true, metadata: {} }])
    await looked.promise
    const began = performance.now()
    await outbox[Symbol.asyncDispose]()
    // The driver would wait five seconds for a handler that does not give up.
    assert.ok(performance.now() - began < 3000)
    await until(() => lines.some((line) => line.includes('rejecting it for later')))
  })

  it('writes values without a content type as Go does', () => {
    const values: unknown = JSON.parse(
      '[1000000,123456,1234567,1e20,1e21,123456789012345680000000,0.0001,0.00001,1.5e-7,0,100,12.5,{"b":null,"a":[true,"x"]},1e5]',
    )
    assert.equal(
      goText(values),
      '[1e+06 123456 1.234567e+06 1e+20 1e+21 1.2345678901234569e+23 0.0001 1e-05 1.5e-07 0 100 12.5 map[a:[true x] b:<nil>] 100000]',
    )
  })
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createConfigurationBlock } from '../../blocks/configuration/block.ts'
import type { ConfigurationItem, ConfigurationStore } from '../../blocks/configuration/driver.ts'
import { Code } from '../../errors.ts'
import { createLogger } from '../../telemetry/log.ts'
import { frame } from '../../transport/grpc/frames.ts'
import type { GrpcStatus } from '../../transport/grpc/status.ts'
import { configurationMethods } from './configuration.ts'
import { type GrpcHarness, serveGrpc, statusOf, stub } from './harness.ts'
import { DAPR } from './method.ts'
import { type Raw, rawMap, rawMessage, readRaw } from './raw-proto.ts'

type Items = Record<string, ConfigurationItem>
const log = createLogger({ level: 'fatal', json: false, appId: 'app', version: 'test' })
const item = (value: string, metadata = {}): ConfigurationItem => ({ value, version: '3', metadata })
const ITEM = { 1: 's', 2: 's', 3: [{ 1: 's', 2: 's' }] } as const
const UPDATE = { 1: 's', 2: [{ 1: 's', 2: ITEM }] } as const

/** A store that tells its changes when the test says so, and the API over it. */
async function serve(component: Partial<ConfigurationStore> = {}) {
  const watchers = new Set<(items: Items) => Promise<void>>()
  const subscribed: unknown[] = []
  let gone = Promise.withResolvers<void>()
  const store = stub<ConfigurationStore>({
    async subscribe(keys, metadata, onChange) {
      subscribed.push([[...keys], { ...metadata }])
      watchers.add(onChange)
      gone = Promise.withResolvers<void>()
      return {
        async [Symbol.asyncDispose]() {
          watchers.delete(onChange)
          gone.resolve()
        },
      }
    },
    ...component,
  })
  const stores = new Map([['cfg', { name: 'cfg', type: 't', version: 'v1', component: store, properties: {} }]])
  const block = createConfigurationBlock({ stores, log })
  const missing: string[] = []
  const api = await serveGrpc({ methods: configurationMethods(block, (error) => void missing.push(error.code)) })
  return {
    api,
    block,
    subscribed,
    missing,
    watchers,
    gone: () => gone.promise,
    change: (items: Items) => Promise.all([...watchers].map((watcher) => watcher(items))),
    [Symbol.asyncDispose]: () => api[Symbol.asyncDispose](),
  }
}

/** A subscription as a client holds it: messages one by one, and its end. */
function subscribe(api: GrpcHarness, request: Raw, version = '') {
  const waiting: ((message: Buffer) => void)[] = []
  const arrived: Buffer[] = []
  const { promise: ended, resolve } = Promise.withResolvers<GrpcStatus | undefined>()
  const call = api.client.stream(
    api.address,
    `${DAPR}SubscribeConfiguration${version}`,
    {},
    {
      onMessage(message) {
        const next = waiting.shift()
        if (next) next(message)
        else arrived.push(message)
      },
      onClose: resolve,
    },
  )
  call.end(frame(rawMessage(request)))
  const next = async () => readRaw(arrived.shift() ?? (await new Promise<Buffer>((take) => waiting.push(take))), UPDATE)
  return { call, ended, next, arrived }
}

for (const version of ['', 'Alpha1']) {
  test(`GetConfiguration${version} hands over every field and answers whole items`, async () => {
    const asked: unknown[] = []
    await using bed = await serve({
      get: async (keys, metadata): Promise<Items> => {
        asked.push([[...keys], { ...metadata }])
        if (keys.length === 0) throw new Error('gone')
        return keys[0] === 'none' ? {} : { a: item('1', { m: 'v' }), b: { value: '', version: '', metadata: {} } }
      },
    })
    const get = (request: Raw) => bed.api.call(`GetConfiguration${version}`, rawMessage(request))
    assert.deepEqual(readRaw(await get({ 1: 'cfg', 2: ['a', 'b'], 3: rawMap({ x: 'y' }) }), { 1: [{ 1: 's', 2: ITEM }] }), {
      1: [
        { 1: 'a', 2: { 1: '1', 2: '3', 3: [{ 1: 'm', 2: 'v' }] } },
        { 1: 'b', 2: {} },
      ],
    })
    assert.equal((await get({ 1: 'cfg', 2: ['none'] })).length, 0)
    assert.deepEqual(asked, [
      [['a', 'b'], { x: 'y' }],
      [['none'], {}],
    ])
    const failed = await statusOf(get({ 1: 'cfg' }))
    assert.deepEqual([failed.code, failed.message], [Code.Internal, 'failed to get [] from Configuration store cfg: gone'])
    const missing = await statusOf(get({ 1: 'no' }))
    assert.deepEqual([missing.code, missing.message, missing.details.length], [Code.InvalidArgument, 'configuration store no not found', 1])
  })

  test(`SubscribeConfiguration${version} sends the id alone, then each change; a client that leaves ends the subscription`, async () => {
    await using bed = await serve()
    const { call, next } = subscribe(bed.api, { 1: 'cfg', 2: ['b', 'a'], 3: rawMap({ x: 'y' }) }, version)
    const first = await next()
    const id = first[1] as string
    assert.deepEqual(first, { 1: id })
    assert.match(id, /^[0-9a-f-]{36}$/)
    assert.deepEqual(bed.subscribed, [[['a', 'b'], { x: 'y' }]])
    await bed.change({ a: item('1', { m: 'v' }) })
    assert.deepEqual(await next(), { 1: id, 2: [{ 1: 'a', 2: { 1: '1', 2: '3', 3: [{ 1: 'm', 2: 'v' }] } }] })
    await bed.change({ a: item('2'), b: item('') })
    assert.deepEqual(await next(), {
      1: id,
      2: [
        { 1: 'a', 2: { 1: '2', 2: '3' } },
        { 1: 'b', 2: { 2: '3' } },
      ],
    })
    call.cancel()
    await bed.gone()
    assert.equal(bed.watchers.size, 0)
    assert.equal(await bed.block.end(id), false)
  })

  test(`UnsubscribeConfiguration${version} ends the stream, once`, async () => {
    await using bed = await serve()
    const { next, ended } = subscribe(bed.api, { 1: 'cfg' }, version)
    const id = (await next())[1] as string
    const unsubscribe = async () =>
      readRaw(await bed.api.call(`UnsubscribeConfiguration${version}`, rawMessage({ 1: 'cfg', 2: id })), { 1: 'n', 2: 's' })
    assert.deepEqual(await unsubscribe(), { 1: 1 })
    assert.equal(await ended, undefined)
    assert.equal(bed.watchers.size, 0)
    const gone = `failed to unsubscribe to configuration request ${id}: subscription does not exist`
    assert.deepEqual(bed.missing, [])
    assert.deepEqual(await unsubscribe(), { 2: gone })
    assert.deepEqual(bed.missing, ['ERR_CONFIGURATION_UNSUBSCRIBE'])
  })
}

test('a change seen while subscribing comes after the id', async () => {
  await using bed = await serve({
    async subscribe(_keys, _metadata, onChange) {
      await onChange({ early: item('1') })
      return { async [Symbol.asyncDispose]() {} }
    },
  })
  const { next } = subscribe(bed.api, { 1: 'cfg' })
  const id = (await next())[1]
  assert.deepEqual(await next(), { 1: id, 2: [{ 1: 'early', 2: { 1: '1', 2: '3' } }] })
})

test('the sidecar stopping ends the stream', async () => {
  await using bed = await serve()
  const { next, ended } = subscribe(bed.api, { 1: 'cfg' })
  await next()
  await bed.block.stop()
  assert.equal(await ended, undefined)
})

test('a client that leaves while the store is still subscribing leaves nothing behind', async () => {
  const opened = Promise.withResolvers<void>()
  const asked = Promise.withResolvers<void>()
  const disposed = Promise.withResolvers<void>()
  await using bed = await serve({
    async subscribe() {
      asked.resolve()
      await opened.promise
      return {
        async [Symbol.asyncDispose]() {
          disposed.resolve()
        },
      }
    },
  })
  const { call, ended } = subscribe(bed.api, { 1: 'cfg' })
  await asked.promise
  call.cancel()
  await ended
  opened.resolve()
  await disposed.promise
})

test('a slow client holds back updates, and misses no last value', async () => {
  await using bed = await serve()
  const { call, next, arrived } = subscribe(bed.api, { 1: 'cfg' })
  await next()
  call.pause()
  const large = 'x'.repeat(1 << 20)
  for (let round = 0; round < 20; round++) await bed.change({ a: item(`${round}${large}`) })
  await bed.change({ a: item('last') })
  call.resume()
  for (;;) {
    const update = (await next()) as { 2: [{ 2: { 1: string } }] }
    if (update[2][0][2][1] === 'last') break
  }
  assert.equal(arrived.length, 0)
})

test('subscribing to what is not there is refused', async () => {
  await using bed = await serve({ subscribe: () => Promise.reject(new Error('gone')) })
  const refused = async (request: Raw) => {
    const status = await subscribe(bed.api, request).ended
    return [status?.code, status?.message, status?.details.length]
  }
  assert.deepEqual(await refused({ 1: 'no' }), [Code.InvalidArgument, 'configuration store no not found', 1])
  assert.deepEqual(await refused({ 1: 'cfg', 2: ['b', 'a'] }), [
    Code.InvalidArgument,
    'failed to subscribe [a b] from Configuration store cfg: gone',
    1,
  ])
})

test('a subscription takes exactly one readable request', async () => {
  await using bed = await serve()
  const outcome = (...messages: Buffer[]) => {
    const { promise, resolve } = Promise.withResolvers<GrpcStatus | undefined>()
    const call = bed.api.client.stream(bed.api.address, `${DAPR}SubscribeConfiguration`, {}, { onMessage() {}, onClose: resolve })
    for (const message of messages) call.write(frame(message))
    call.end()
    return promise
  }
  const request = rawMessage({ 1: 'cfg' })
  assert.equal((await outcome())?.code, Code.Internal)
  assert.equal((await outcome(Buffer.from([10, 200])))?.code, Code.Internal)
  assert.equal((await outcome(request, request))?.code, Code.Internal)
})

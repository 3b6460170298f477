import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AppChannel, AppRequest } from '../../app/channel.ts'
import { createLogger } from '../../telemetry/log.ts'
import type { Around } from '../around.ts'
import { createBindingsBlock } from './block.ts'
import type { Binding, BindingEvent, BindingRequest } from './driver.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'app', version: 'test' })

/** An app that answers by method and path; what it was asked is kept. */
function appWith(answer: (request: AppRequest) => number) {
  const seen: AppRequest[] = []
  const call: AppChannel['call'] = async (request) => {
    seen.push(request)
    return { status: answer(request), headers: {}, body: Buffer.from('{"said":1}') }
  }
  const app: AppChannel = { call, request: () => Promise.reject(new Error('unused')), ready: async () => {} }
  return { app, seen }
}

function input(name: string, properties: Record<string, string> = {}) {
  let handler: ((event: BindingEvent) => Promise<Buffer | undefined>) | undefined
  const component: Binding = {
    init: async () => {},
    async read(take) {
      handler = take
      return {
        async [Symbol.asyncDispose]() {
          handler = undefined
        },
      }
    },
    [Symbol.asyncDispose]: async () => {},
  }
  const entry = [name, { name, type: 'bindings.test', version: 'v1', component, properties }] as const
  return {
    entry,
    reading: () => handler !== undefined,
    fire: (metadata: Record<string, string> = {}) => handler?.({ data: Buffer.from('tick'), metadata }),
  }
}

test('the app is asked on the route, gets the event with its metadata, and its answer goes back', async () => {
  const bound = input('ticks', { route: '/on/ticks' })
  const { app, seen } = appWith(() => 200)
  const block = createBindingsBlock({ components: new Map([bound.entry]), app, log })
  await block.start()
  assert.equal((await bound.fire({ readTimeUTC: 'now', 'content-length': '999' }))?.toString(), '{"said":1}')
  assert.deepEqual(
    seen.map((request) => `${request.method} ${request.path}`),
    ['OPTIONS /on/ticks', 'POST /on/ticks'],
  )
  assert.deepEqual(seen[1]?.headers, { readtimeutc: 'now', 'content-type': 'application/json' })
  await block.stop()
  assert.equal(bound.reading(), false)
})

test('405 to OPTIONS is a yes, 404 a no, direction input asks nothing, direction output reads nothing', async () => {
  const [yes, no, told, out] = [input('yes'), input('no'), input('told', { direction: 'Input' }), input('out', { direction: 'output' })]
  const { app, seen } = appWith((request) => (request.path === '/yes' ? 405 : 404))
  const block = createBindingsBlock({ components: new Map([yes.entry, no.entry, told.entry, out.entry]), app, log })
  await block.start()
  assert.deepEqual(
    [yes, no, told, out].map((binding) => binding.reading()),
    [true, false, true, false],
  )
  assert.deepEqual(
    seen.map((request) => request.path),
    ['/yes', '/no'],
  )
  await block.stop()
})

test('an event the app refuses is not handled; 201 counts as failed only for the retry policy', async () => {
  const bound = input('b', { direction: 'input' })
  let status = 500
  const { app, seen } = appWith(() => status)
  const twice: Around = (_component, _operation, work, signal) => work(signal).catch(() => work(signal))
  const block = createBindingsBlock({ components: new Map([bound.entry]), app, log, inbound: twice })
  await block.start()
  await assert.rejects(async () => bound.fire(), { status: 500 })
  status = 201
  assert.equal((await bound.fire())?.toString(), '{"said":1}')
  assert.equal(seen.length, 4, 'each was tried twice')
  await block.stop()
})

test("a gRPC app's answer is created in the output bindings it names", async () => {
  const bound = input('b', { direction: 'input' })
  const made: BindingRequest[] = []
  const component: Binding = {
    operations: ['create'],
    init: async () => {},
    async invoke(request) {
      made.push(request)
      return undefined
    },
    [Symbol.asyncDispose]: async () => {},
  }
  const app = { wants: async () => true, deliver: async () => ({ data: Buffer.from('{ "a": 1 }'), to: ['out'] }) }
  const block = createBindingsBlock({
    components: new Map([bound.entry, ['out', { name: 'out', type: 'bindings.test', version: 'v1', component, properties: {} }] as const]),
    app,
    log,
  })
  await block.start()
  await bound.fire()
  assert.deepEqual(
    made.map((request) => [request.operation, request.data.toString()]),
    [['create', '{"a":1}']],
  )
  await assert.rejects(block.invoke('b', { operation: 'create', data: Buffer.alloc(0), metadata: {} }), {
    code: 'ERR_INVOKE_OUTPUT_BINDING',
    message: "error invoking output binding b: couldn't find output binding b",
  })
  await block.stop()
})

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, describe, it } from 'node:test'
import { azuriteQueues } from '../../../../test/servers/azurite.ts'
import { help, serverOf } from '../../../../test/servers/server.ts'
import { bindingConformance } from '../../../blocks/bindings/conformance.ts'
import type { Binding, BindingEvent } from '../../../blocks/bindings/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { ACCOUNT, KEY } from '../../azure/testing.ts'
import { driver } from './driver.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const server = await serverOf(azuriteQueues)
const address = server?.address ?? 'http://127.0.0.1:1'
after(() => server?.stop())

async function open(properties: Record<string, string> = {}): Promise<Binding> {
  const account = {
    accountName: ACCOUNT,
    accountKey: KEY,
    queueEndpoint: address,
    queueName: `q-${randomUUID()}`,
    pollingInterval: '100ms',
  }
  const common = { name: 'queue', type: 'bindings.azure.storagequeues', version: 'v1', appId: 'app', namespace: '', log }
  const binding = driver.create({ ...common, properties: { ...account, ...properties } })
  try {
    await binding.init(AbortSignal.timeout(10_000))
  } catch (error) {
    await binding[Symbol.asyncDispose]()
    throw error
  }
  return binding
}

const send = (binding: Binding, data: string | Buffer, metadata: Record<string, string> = {}) =>
  binding.invoke?.({ operation: 'create', data: Buffer.from(data), metadata })

/** The first events of a binding; `fail`: the app refuses those. */
async function events(binding: Binding, count: number, fail = 0): Promise<BindingEvent[]> {
  const found: BindingEvent[] = []
  const { promise, resolve } = Promise.withResolvers<void>()
  const reader = await binding.read?.(async (event) => {
    found.push(event)
    if (found.length <= fail) throw new Error('not now')
    if (found.length === count) resolve()
    return undefined
  })
  await promise
  await reader?.[Symbol.asyncDispose]()
  return found
}

bindingConformance('bindings.azure.storagequeues (Azurite)', { operations: ['create'], read: true, anyOperation: true }, async () => {
  if (!server) return undefined
  const binding = await open()
  for (const text of ['1', '2']) await send(binding, text)
  return binding
})

describe('bindings.azure.storagequeues', { skip: server === undefined ? help(azuriteQueues) : false }, () => {
  it('feeds what is sent, with daprd’s metadata', async () => {
    await using binding = await open()
    await send(binding, '"<a> & \\"b\\" ü"')
    await send(binding, '{"a":1}')
    const [first, second] = await events(binding, 2)
    assert.deepEqual([String(first?.data), String(second?.data)], ['<a> & "b" ü', '{"a":1}'])
    const { messageID, popReceipt, dequeueCount, insertionTime, expirationTime, nextVisibleTime } = first?.metadata ?? {}
    assert.ok(messageID && popReceipt)
    assert.equal(dequeueCount, '1')
    const [from, to, seen] = [insertionTime, expirationTime, nextVisibleTime].map((time) => Date.parse(String(time))) as [
      number,
      number,
      number,
    ]
    assert.equal(to - from, 600_000)
    assert.ok(seen - from >= 29_000)
    assert.match(String(insertionTime), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
  })

  it('gives what was not handled again when it has been hidden long enough', async () => {
    await using binding = await open({ visibilityTimeout: '1s' })
    await send(binding, 'again')
    const [, second] = await events(binding, 2, 1)
    assert.deepEqual([String(second?.data), second?.metadata.dequeueCount], ['again', '2'])
  })

  it('sends and reads Base64, for a time and after a time', async () => {
    const queueName = `q-${randomUUID()}`
    await using binding = await open({ queueName, encodeBase64: 'true', decodeBase64: 'true', ttl: '30' })
    await using plain = await open({ queueName })
    await send(binding, Buffer.from([0, 1, 255]))
    const [event] = await events(plain, 1)
    assert.equal(String(event?.data), 'AAH/')
    const { insertionTime, expirationTime } = event?.metadata ?? {}
    assert.equal(Date.parse(String(expirationTime)) - Date.parse(String(insertionTime)), 30_000)
    const before = Date.now()
    await send(binding, Buffer.from([0, 1, 255]), { initialVisibilityDelay: '1s', ttlInSeconds: '60' })
    const [late] = await events(binding, 1)
    assert.deepEqual(late?.data, Buffer.from([0, 1, 255]))
    assert.ok(Date.now() - before > 500)
    await assert.rejects(async () => send(binding, 'x', { initialVisibilityDelay: '5' }), /invalid value for initialVisibilityDelay: "5"/)
    await assert.rejects(async () => send(binding, 'x', { ttl: '-1' }), /ttl value must be higher than zero: actual is '-1'/)
  })

  it('says what is wrong at the start, and nothing of the key', async () => {
    for (const [settings, words] of [
      [{ accountName: '' }, 'missing or empty accountName field from metadata'],
      [{ queueName: '' }, 'missing or empty queueName field from metadata'],
      [{ pollingInterval: '50ms' }, "invalid value for 'pollingInterval': must be greater than 100ms"],
      [{ queueEndpoint: 'azure' }, 'metadata field queueEndpoint is not an http or https URL'],
    ] as const)
      await assert.rejects(open(settings as Record<string, string>), { message: words })
    const wrong = Buffer.from('canary').toString('base64')
    await assert.rejects(
      open({ accountKey: wrong }),
      ({ message }: Error) => /^PUT 127.* status 403, Auth/.test(message) && !message.includes(wrong),
    )
    await using binding = await open()
    await binding.ping?.(AbortSignal.timeout(5000))
  })
})

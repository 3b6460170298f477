import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, describe, it } from 'node:test'
import { help, serverOf } from '../../../../test/servers/server.ts'
import { sdkClient, serviceBus, serviceBusProperties } from '../../../../test/servers/servicebus.ts'
import { bindingConformance } from '../../../blocks/bindings/conformance.ts'
import type { Binding, BindingEvent } from '../../../blocks/bindings/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { MetadataError } from '../../metadata.ts'
import { driver } from './driver.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const server = await serverOf(serviceBus)
const address = server?.address ?? ''
const skip = server === undefined && help(serviceBus)
const limit = { timeout: 30_000 }
after(() => server?.stop())

function create(properties: Record<string, string>): Binding {
  return driver.create({
    name: 'queue',
    type: 'bindings.azure.servicebusqueues',
    version: 'v1',
    appId: 'app',
    namespace: '',
    log,
    properties,
  })
}

async function open(properties: Record<string, string> = {}): Promise<Binding> {
  const binding = create({ ...serviceBusProperties(address), queueName: `q-${randomUUID()}`, ...properties })
  await binding.init(AbortSignal.timeout(10_000))
  return binding
}

const send = (binding: Binding, data: string, metadata: Record<string, string> = {}) =>
  binding.invoke?.({ operation: 'create', data: Buffer.from(data), metadata })

bindingConformance('bindings.azure.servicebusqueues (stand-in)', { operations: ['create'], read: true, anyOperation: true }, async () => {
  if (!server) return undefined
  const binding = await open()
  for (const text of ['1', '2']) await send(binding, text)
  return binding
})

describe('bindings.azure.servicebusqueues', { skip, ...limit }, () => {
  it('feeds the app with what Azure’s SDK sends, one at a time, again what fails, with daprd’s metadata', limit, async () => {
    const queueName = `q-${randomUUID()}`
    await using binding = await open({ queueName })
    const client = await sdkClient(address)
    await client.createSender(queueName).sendMessages([
      {
        body: Buffer.from('a'),
        messageId: 'm1',
        correlationId: 'c',
        subject: 'l',
        applicationProperties: { 'my key': 'a b&c', number: 1 },
      },
      { body: Buffer.from('b'), messageId: 'm2' },
    ])
    await client.close()
    const seen: BindingEvent[] = []
    let running = 0
    const { promise, resolve } = Promise.withResolvers<void>()
    await using _ = (await binding.read?.(async (event) => {
      assert.equal(++running, 1)
      seen.push(event)
      await new Promise(setImmediate)
      running--
      if (seen.length === 1) throw new Error('not now')
      if (seen.length === 3) resolve()
      return undefined
    })) as AsyncDisposable
    await promise
    assert.deepEqual(
      seen.map(({ data }) => data.toString()),
      ['a', 'a', 'b'],
    )
    assert.deepEqual(seen[0]?.metadata, { id: 'm1', correlationID: 'c', label: 'l', 'my+key': 'a+b%26c' })
    assert.deepEqual(seen[2]?.metadata, { id: 'm2' })
  })

  it('sends what Azure’s SDK reads', limit, async () => {
    const queueName = `q-${randomUUID()}`
    await using binding = await open({ queueName })
    await send(binding, '{"a":1}', {
      id: 'i',
      correlationID: 'c',
      Label: 'l',
      ContentType: 'application/json',
      ttlInSeconds: '60',
      own: 'x',
    })
    const client = await sdkClient(address)
    const [message] = await client.createReceiver(queueName).receiveMessages(1, { maxWaitTimeInMs: 5000 })
    await client.close()
    assert.deepEqual(
      [
        message?.messageId,
        message?.correlationId,
        message?.subject,
        message?.contentType,
        message?.timeToLive,
        message?.applicationProperties,
      ],
      ['i', 'c', 'l', 'application/json', 60_000, { own: 'x' }],
    )
  })

  it('says what is wrong with its settings in Dapr’s words', () => {
    const connectionString = 'Endpoint=sb://h;SharedAccessKeyName=n;SharedAccessKey=k'
    const wrong: [Record<string, string>, string][] = [
      [{ queueName: 'q' }, 'either one of connection string or namespace name are required'],
      [{ queueName: 'q', connectionString, namespaceName: 'n' }, 'connectionString and namespaceName cannot both be specified'],
      [{ connectionString }, 'missing queueName'],
      [{ queueName: 'q', connectionString, maxActiveMessages: '0' }, 'maxActiveMessages must be 1 or greater'],
      [{ queueName: 'q', connectionString, maxRetriableErrorsPerSec: '-1' }, 'maxRetriableErrorsPerSec must not be negative'],
      [{ queueName: 'q', connectionString, defaultMessageTimeToLiveInSec: '0' }, 'defaultMessageTimeToLiveInSec must be greater than 0'],
      [{ queueName: 'q', connectionString, autoDeleteOnIdleInSec: '299' }, 'autoDeleteOnIdleInSec must be greater than or equal to 300'],
    ]
    for (const [properties, message] of wrong)
      assert.throws(
        () => create(properties),
        (error) => error instanceof MetadataError && error.message === message,
        message,
      )
  })
})

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, describe, it } from 'node:test'
import { azurite } from '../../../../test/servers/azurite.ts'
import { connectionStringTo, eventHubs } from '../../../../test/servers/eventhubs.ts'
import { help, ownServer, serverOf } from '../../../../test/servers/server.ts'
import { bindingConformance } from '../../../blocks/bindings/conformance.ts'
import type { BindingEvent } from '../../../blocks/bindings/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { connectionTo } from '../../azure/testing.ts'
import { driver } from './driver.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const server = await ownServer(eventHubs)
const storage = await serverOf(azurite)
after(() => Promise.all([server?.stop(), storage?.stop()]))
const missing = (!server && help(eventHubs)) || (!storage && help(azurite)) || false
const address = server?.address ?? 'amqp://127.0.0.1:1'

async function open(properties: Record<string, string> = {}) {
  const all = {
    connectionString: connectionStringTo(address),
    eventHub: `hub-${randomUUID()}`,
    consumerID: 'readers',
    storageConnectionString: connectionTo(storage?.address ?? 'http://127.0.0.1:1'),
    storageContainerName: 'binding-checkpoints',
    ...properties,
  }
  const context = { name: 'hub', type: 'bindings.azure.eventhubs', version: 'v1', properties: all, appId: 'app', namespace: '', log }
  const binding = driver.create(context)
  await binding.init(AbortSignal.timeout(10_000))
  return binding
}

type Handler = (event: BindingEvent) => Promise<undefined>

/** A binding whose group has begun to read, so that it gets what is sent from now on. */
async function begun(properties: Record<string, string> = {}) {
  const binding = await open(properties)
  const reader = await binding.read?.(async () => undefined)
  await reader?.[Symbol.asyncDispose]()
  return binding
}

const send = (binding: Awaited<ReturnType<typeof open>>, text: string, metadata: Record<string, string> = {}) =>
  binding.invoke?.({ operation: 'create', data: Buffer.from(text), metadata })

bindingConformance('bindings.azure.eventhubs (stand-in)', { operations: ['create'], read: true, anyOperation: true }, async () => {
  if (missing) return undefined
  const binding = await begun()
  for (const text of ['1', '2']) await send(binding, text)
  return binding
})

describe('bindings.azure.eventhubs', { skip: missing }, () => {
  it('feeds what is sent, with daprd’s metadata, and again what was not handled', async () => {
    await using binding = await open({ backOffDuration: '10ms', enableInOrderMessageDelivery: 'true' })
    const seen: BindingEvent[] = []
    const { promise, resolve } = Promise.withResolvers<void>()
    const handler: Handler = async (event) => {
      seen.push(event)
      if (seen.length === 1) throw new Error('not now')
      if (seen.length === 3) resolve()
      return undefined
    }
    await using _ = await binding.read?.(handler)
    await send(binding, '{"a":1}', { partitionKey: 'k', contentType: 'application/json' })
    await send(binding, 'two')
    await promise
    assert.deepEqual(
      seen.map(({ data, metadata }) => [String(data), metadata['x-opt-sequence-number'], metadata['x-opt-partition-key']]),
      [
        ['{"a":1}', '0', 'k'],
        ['{"a":1}', '0', 'k'],
        ['two', '1', undefined],
      ],
    )
  })

  it('says which hub or group is missing', async () => {
    await assert.rejects(open({ eventHub: '' }), {
      message: "the provided connection string does not contain a value for 'EntityPath' and no 'eventHub' property was passed",
    })
    await assert.rejects(open({ eventHub: '', connectionString: '', eventHubNamespace: 'hubs' }), {
      message: "property 'eventHub' is required when connecting with Azure AD",
    })
    await using named = await open({ eventHub: 'other', connectionString: connectionStringTo(address, { hub: 'mine' }), consumerID: '' })
    await send(named, 'the connection string says which')
    await assert.rejects(async () => named.read?.(async () => undefined), {
      message: 'property consumerID is required to subscribe to an Event Hub topic',
    })
  })
})

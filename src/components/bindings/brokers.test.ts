import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, describe, it } from 'node:test'
import { kafka } from '../../../test/servers/kafka.ts'
import { mosquitto } from '../../../test/servers/mosquitto.ts'
import { serverOf } from '../../../test/servers/server.ts'
import type { Binding, BindingEvent } from '../../blocks/bindings/driver.ts'
import { createLogger } from '../../telemetry/log.ts'
import { bindingDrivers } from './registry.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const limit = { timeout: 30_000 }
const [broker, mqtt] = [await serverOf(kafka), await serverOf(mosquitto)]
after(async () => {
  await broker?.stop()
  await mqtt?.stop()
})

async function open(type: string, properties: Record<string, string>): Promise<Binding> {
  const driver = await bindingDrivers.find((row) => row.type === type)?.load()
  if (driver === undefined) throw new Error(`no driver ${type}`)
  const binding = driver.create({ name: 'events', type, version: 'v1', properties, appId: 'app', namespace: 'default', log })
  await binding.init(AbortSignal.timeout(10_000))
  return binding
}

function inbox() {
  const events: BindingEvent[] = []
  const waiters = new Set<() => void>()
  return {
    events,
    add(event: BindingEvent) {
      events.push(event)
      for (const wake of waiters) wake()
      return undefined
    },
    async until(count: number) {
      while (events.length < count) await new Promise<void>((resolve) => waiters.add(resolve))
    },
  }
}

const create = (binding: Binding, text: string, metadata: Record<string, string> = {}) =>
  binding.invoke?.({ operation: 'create', data: Buffer.from(text), metadata })

describe('bindings.kafka', { skip: broker === undefined ? 'Kafka is not on this machine' : false }, () => {
  const settings = (topics: string, more: Record<string, string> = {}) => ({
    brokers: broker?.address ?? '',
    // The older form of authType none.
    authRequired: 'false',
    consumerGroup: `group-${randomUUID()}`,
    topics,
    publishTopic: topics.split(',')[0] as string,
    ...more,
  })

  it('publishes to a topic and reads several', limit, async () => {
    const [one, two] = [`one-${randomUUID()}`, `two-${randomUUID()}`]
    await using binding = await open('bindings.kafka', settings(`${one},${two}`))
    await using other = await open('bindings.kafka', settings(two))
    assert.deepEqual(binding.operations, ['create'])
    const box = inbox()
    await using _reader = await binding.read?.(async (event) => box.add(event))
    await create(binding, '{"orderId":1}', { partitionKey: 'k' })
    await create(other, 'second')
    await box.until(2)
    const [first] = box.events.filter(({ metadata }) => metadata.__topic === one)
    assert.equal(first?.data.toString(), '{"orderId":1}')
    assert.deepEqual([first?.metadata.__key, first?.metadata.partitionKey, first?.metadata.__partition], ['k', 'k', '0'])
    assert.ok(box.events.some(({ data, metadata }) => metadata.__topic === two && data.toString() === 'second'))
  })

  it('passes over what the app does not take, or tries it again when it is told to', limit, async () => {
    for (const consumeRetryEnabled of ['false', 'true']) {
      const topic = `retry-${randomUUID()}`
      await using binding = await open('bindings.kafka', settings(topic, { consumeRetryEnabled, consumeRetryInterval: '10' }))
      const box = inbox()
      let tries = 0
      await using _reader = await binding.read?.(async (event) => {
        if (event.data.toString() === 'bad' && ++tries < 3) throw new Error('not now')
        return box.add(event)
      })
      await create(binding, 'bad')
      await create(binding, 'good')
      await box.until(consumeRetryEnabled === 'true' ? 2 : 1)
      assert.deepEqual(
        box.events.map(({ data }) => data.toString()),
        consumeRetryEnabled === 'true' ? ['bad', 'good'] : ['good'],
      )
    }
  })

  it('says which field is missing', limit, async () => {
    await using binding = await open('bindings.kafka', settings('', { publishTopic: '' }))
    await assert.rejects(async () => create(binding, 'x'), /set the metadata field publishTopic/)
    await using _reader = await binding.read?.(async () => undefined)
  })
})

describe('bindings.mqtt3', { skip: mqtt === undefined ? 'Mosquitto is not on this machine' : false }, () => {
  const settings = (more: Record<string, string> = {}) => ({
    url: mqtt?.address ?? '',
    topic: `topic-${randomUUID()}`,
    consumerID: `client-${randomUUID()}`,
    ...more,
  })

  it('publishes and reads, and keeps for the next reader what was not handled', limit, async () => {
    const properties = settings({ drainTimeout: '1ms' })
    await using binding = await open('bindings.mqtt3', properties)
    const held = Promise.withResolvers<void>()
    const first = await binding.read?.(async () => {
      held.resolve()
      throw new Error('never')
    })
    await create(binding, 'one')
    await held.promise
    await first?.[Symbol.asyncDispose]()
    await create(binding, 'two')
    const box = inbox()
    await using _reader = await binding.read?.(async (event) => box.add(event))
    await box.until(2)
    assert.deepEqual(box.events.map(({ data }) => data.toString()).toSorted(), ['one', 'two'])
    assert.deepEqual({ ...box.events[0]?.metadata }, { topic: properties.topic })
  })

  it('publishes to the topic of the request', limit, async () => {
    const properties = settings()
    await using binding = await open('bindings.mqtt3', properties)
    await using other = await open('bindings.mqtt3', settings())
    const box = inbox()
    await using _reader = await binding.read?.(async (event) => box.add(event))
    await create(other, 'x', { topic: properties.topic })
    await box.until(1)
  })

  it('names what is missing, and the broker that is not there', limit, async () => {
    await assert.rejects(open('bindings.mqtt3', settings({ topic: '' })), /missing required metadata field topic/)
    await using binding = await open('bindings.mqtt3', settings({ url: 'mqtt://127.0.0.1:1' }))
    await assert.rejects(async () => create(binding, 'x'), /the MQTT broker at 127\.0\.0\.1:1 cannot be reached/)
  })
})

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, describe, it } from 'node:test'
import { cosmosdb } from '../../../../test/servers/cosmosdb.ts'
import { help, serverOf } from '../../../../test/servers/server.ts'
import type { Binding } from '../../../blocks/bindings/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { cosmosOf, makeContainer } from '../../azure/testing-cosmos.ts'
import { driver } from './driver.ts'

const server = await serverOf(cosmosdb)
after(() => server?.stop())
const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const address = server?.address ?? ''
const database = `b${randomUUID()}`
if (server) await makeContainer(address, database, 'orders', { partitionKey: { paths: ['/customer/id'], kind: 'Hash' } })

async function open(more: Record<string, string> = {}): Promise<Binding> {
  const properties = { ...cosmosOf(address, database, 'orders'), partitionKey: 'customer.id', ...more }
  const binding = driver.create({ name: 'b', type: 'bindings.azure.cosmosdb', version: 'v1', appId: 'app', namespace: '', log, properties })
  await binding.init(AbortSignal.timeout(10_000))
  return binding
}

describe('bindings.azure.cosmosdb', { skip: server === undefined ? help(cosmosdb) : false }, () => {
  it('makes documents, each id once in a partition', async () => {
    await using binding = await open()
    const create = (document: unknown) =>
      binding.invoke?.({ operation: 'create', data: Buffer.from(JSON.stringify(document)), metadata: {} })
    await create({ id: 'k', customer: { id: 'ä' }, total: 1 })
    await create({ id: 'k', customer: { id: 'b' } })
    await assert.rejects(Promise.resolve(create({ id: 'k', customer: { id: 'b' } })), /status 409, Conflict/)
    for (const [document, message] of [
      [{ id: 'k' }, 'missing partitionKey field customer.id from request body - key not found customer'],
      [{ id: 'k', customer: 'me' }, 'missing partitionKey field customer.id from request body - key not found id'],
      [['k'], 'missing partitionKey field customer.id from request body - key not found customer'],
      [{ id: 'k', customer: { id: 1 } }, 'partition key is not a string'],
      [{ id: 'k', customer: { id: '' } }, 'partitionKey field customer.id from request body is empty'],
    ] as const)
      await assert.rejects(Promise.resolve(create(document)), { message })
    const none = binding.invoke?.({ operation: 'create', data: Buffer.from('{'), metadata: {} })
    await assert.rejects(Promise.resolve(none), /^Error: data is not JSON: /)
    await binding.ping?.(AbortSignal.timeout(5000))
  })

  it('says at the start that the container has another partition key', async () => {
    await assert.rejects(open({ partitionKey: 'orderId' }), {
      message:
        'metadata field partitionKey: it is orderId, and documents of container orders are told apart by customer.id: give what the container has',
    })
    await assert.rejects(open({ partitionKey: '' }), /^MetadataError: partitionKey is required/)
  })
})

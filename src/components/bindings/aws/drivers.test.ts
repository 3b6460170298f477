import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, describe, it } from 'node:test'
import { moto } from '../../../../test/servers/moto.ts'
import { help, serverOf } from '../../../../test/servers/server.ts'
import { bindingConformance } from '../../../blocks/bindings/conformance.ts'
import type { Binding } from '../../../blocks/bindings/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { DYNAMODB, SNS, SQS } from '../../aws/services.ts'
import { accountOf, clientOf, makeTable } from '../../aws/testing.ts'
import { bindingDrivers } from '../registry.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const server = await serverOf(moto)
after(() => server?.stop())
const account = accountOf(server?.address ?? 'http://k:s@none')
const own = `binding-${randomUUID()}`
const topicArn = `arn:aws:sns:us-east-1:123456789012:${own}`

async function open(type: string, properties: Record<string, string>): Promise<Binding> {
  const driver = await bindingDrivers.find((row) => row.type === type)?.load()
  if (!driver) throw new Error(`no driver ${type}`)
  const all = { ...account, ...properties }
  const binding = driver.create({ name: 'b', type, version: 'v1', properties: all, appId: 'app', namespace: '', log })
  try {
    await binding.init(AbortSignal.timeout(5000))
  } catch (error) {
    await binding[Symbol.asyncDispose]()
    throw error
  }
  return binding
}
const create = (binding: Binding, text: string) => binding.invoke?.({ operation: 'create', data: Buffer.from(text), metadata: {} })

const places = {
  'bindings.aws.sqs': { queueName: own },
  'bindings.aws.sns': { topicArn },
  'bindings.aws.dynamodb': { table: own },
}
const address = server?.address ?? 'http://k:s@none'
const sqs = clientOf(address, SQS)
const sns = clientOf(address, SNS)
const dynamo = clientOf(address, DYNAMODB)
after(() => Promise.all([sqs, sns, dynamo].map((client) => client[Symbol.asyncDispose]())))
if (server) {
  await sqs.json('CreateQueue', { QueueName: own, Attributes: { VisibilityTimeout: '1' } })
  await sns.query('CreateTopic', [['Name', own]])
  await makeTable(address, own, 'id')
}

bindingConformance('bindings.aws.sqs (moto)', { operations: ['create'], read: true, anyOperation: true }, async () => {
  if (!server) return undefined
  const binding = await open('bindings.aws.sqs', places['bindings.aws.sqs'])
  for (const text of ['1', '2']) await create(binding, text)
  return binding
})

describe('bindings of AWS', { skip: server === undefined ? help(moto) : false }, () => {
  it('bindings.aws.sqs gives a message again that was not handled, and what waited when reading ends', { timeout: 20_000 }, async () => {
    const queueName = `${own}-again`
    await sqs.json('CreateQueue', { QueueName: queueName })
    await using binding = await open('bindings.aws.sqs', { queueName, redeliverInterval: '0' })
    const tries: string[] = []
    const { promise: third, resolve } = Promise.withResolvers<void>()
    const reader = await binding.read?.(async ({ data }) => {
      if (tries.push(data.toString()) === 3) resolve()
      if (tries.length < 3) throw new Error('not yet')
      return undefined
    })
    await create(binding, '{"ü":1}')
    await third
    await reader?.[Symbol.asyncDispose]()
    assert.deepEqual(tries, ['{"ü":1}', '{"ü":1}', '{"ü":1}'])
    const { QueueUrl } = await sqs.json('GetQueueUrl', { QueueName: queueName })
    const { Attributes } = await sqs.json('GetQueueAttributes', { QueueUrl, AttributeNames: ['All'] })
    const { ApproximateNumberOfMessages: left, ApproximateNumberOfMessagesNotVisible: hidden } = Attributes as Record<string, string>
    assert.deepEqual([left, hidden], ['0', '0'])
  })

  it('bindings.aws.sns publishes a message with its subject, or without', async () => {
    const QueueName = `${own}-of-sns`
    const { QueueUrl } = await sqs.json('CreateQueue', { QueueName })
    await sns.query('Subscribe', [
      ['TopicArn', topicArn],
      ['Protocol', 'sqs'],
      ['Endpoint', `arn:aws:sqs:us-east-1:123456789012:${QueueName}`],
    ]) // prettier-ignore
    await using binding = await open('bindings.aws.sns', places['bindings.aws.sns'])
    await create(binding, '{"message":"hello","subject":"greeting"}')
    await create(binding, '{"message":{"a":[1]}}')
    const { Messages } = await sqs.json('ReceiveMessage', { QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 1 })
    const got = (Messages as { Body: string }[]).map(({ Body }) => JSON.parse(Body)).map(({ Message, Subject }) => [Message, Subject])
    assert.deepEqual(got, [
      ['hello', 'greeting'],
      ['{"a":[1]}', undefined],
    ])
    await assert.rejects(create(binding, '{"subject":"x"}') ?? Promise.resolve(), /data has no "message"/)
  })

  it('bindings.aws.dynamodb puts an item of every kind of value', async () => {
    await using binding = await open('bindings.aws.dynamodb', places['bindings.aws.dynamodb'])
    await create(binding, '{"id":"1","n":1.5,"t":true,"no":null,"e":"","l":[1,"x",[]],"m":{"a":{"b":1}}}')
    const { Item } = await dynamo.json('GetItem', { TableName: own, Key: { id: { S: '1' } } })
    assert.deepEqual(Item, {
      id: { S: '1' },
      n: { N: '1.5' },
      t: { BOOL: true },
      no: { NULL: true },
      e: { S: '' },
      l: { L: [{ N: '1' }, { S: 'x' }, { L: [] }] },
      m: { M: { a: { M: { b: { N: '1' } } } } },
    })
    await assert.rejects(create(binding, '[1]') ?? Promise.resolve(), /data is not a JSON object/)
    await assert.rejects(create(binding, '{"x":1}') ?? Promise.resolve(), /operation error DynamoDB: PutItem, .*ValidationException/)
  })

  for (const [type, place] of Object.entries(places))
    it(`${type} says what AWS says, and nothing of the key`, async () => {
      const data = '{"id":"1","message":"x"}'
      const act = async (properties: Record<string, string>) => {
        await using binding = await open(type, { ...place, ...properties })
        await create(binding, data)
      }
      await assert.rejects(
        act({ secretKey: 'wrong-canary' }),
        ({ message }: Error) => /SignatureDoesNotMatch/.test(message) && !message.includes('canary'),
      )
      await assert.rejects(act({ endpoint: 'http://127.0.0.1:1' }), /no answer of 127\.0\.0\.1:1: .*ECONNREFUSED/)
      const missing = Object.fromEntries(Object.keys(place).map((key) => [key, '']))
      await assert.rejects(act(missing), new RegExp(`missing required metadata field ${Object.keys(place)[0]}`))
    })
})

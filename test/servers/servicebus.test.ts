import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, describe, it } from 'node:test'
import { help, serverOf } from './server.ts'
import { sdkClient, serviceBus, serviceBusProperties } from './servicebus.ts'

// The stand-in is of our own making: Azure's SDK says whether it is what clients of Service Bus expect.
const server = await serverOf(serviceBus)
after(() => server?.stop())
const limit = { timeout: 30_000 }
const address = server?.address ?? ''

/** Makes an entity by the ATOM API, signed by the SDK's way of signing. */
async function make(path: string, element: string, settings = ''): Promise<void> {
  const { managementEndpoint = '', connectionString = '' } = serviceBusProperties(address)
  const { sasToken } = await import('../../src/components/azure/amqp/sas.ts')
  const { parseConnectionString } = await import('../../src/components/azure/amqp/connection-string.ts')
  const url = new URL(`/${path}?api-version=2021-05`, managementEndpoint)
  const { token } = sasToken(parseConnectionString(connectionString), `https://${url.host}/${path}`)
  const body = `<entry xmlns="http://www.w3.org/2005/Atom"><content type="application/xml"><${element}>${settings}</${element}></content></entry>`
  const { status } = await fetch(url, { method: 'PUT', headers: { authorization: token }, body })
  assert.equal(status, 201)
}

describe('the stand-in for Service Bus, for Azure’s SDK', { skip: server === undefined && help(serviceBus), ...limit }, () => {
  it('sends, gives, completes, abandons and counts deliveries', limit, async () => {
    const queue = `q-${randomUUID()}`
    await make(queue, 'QueueDescription')
    const client = await sdkClient(address)
    const sender = client.createSender(queue)
    await sender.sendMessages([
      { body: 'one', messageId: 'm1', applicationProperties: { a: 1 }, subject: 's' },
      { body: 'two', messageId: 'm2' },
    ])
    const receiver = client.createReceiver(queue)
    const first = await receiver.receiveMessages(2, { maxWaitTimeInMs: 3000 })
    const [one, two] = first.length === 2 ? first : [...first, ...(await receiver.receiveMessages(1, { maxWaitTimeInMs: 3000 }))]
    assert.deepEqual(
      [one?.body, one?.messageId, one?.subject, one?.applicationProperties, one?.deliveryCount],
      ['one', 'm1', 's', { a: 1 }, 0],
    )
    assert.ok(one && two)
    assert.ok((await receiver.renewMessageLock(one)).getTime() > Date.now() + 30_000)
    await receiver.completeMessage(one)
    await receiver.abandonMessage(two)
    const [again] = await receiver.receiveMessages(1, { maxWaitTimeInMs: 3000 })
    assert.deepEqual([again?.messageId, again?.deliveryCount], ['m2', 1])
    await receiver.completeMessage(again ?? two)
    await assert.rejects(receiver.completeMessage(one))
    await client.close()
  })

  it('dead-letters with a reason, and after too many deliveries', limit, async () => {
    const queue = `q-${randomUUID()}`
    await make(queue, 'QueueDescription', '<MaxDeliveryCount>1</MaxDeliveryCount>')
    const client = await sdkClient(address)
    await client.createSender(queue).sendMessages([
      { body: 'a', messageId: 'a' },
      { body: 'b', messageId: 'b' },
    ])
    const receiver = client.createReceiver(queue)
    for (const name of ['first', 'second']) {
      const [message] = await receiver.receiveMessages(1, { maxWaitTimeInMs: 3000 })
      assert.ok(message)
      if (name === 'first') await receiver.deadLetterMessage(message, { deadLetterReason: 'why', deadLetterErrorDescription: 'because' })
      else await receiver.abandonMessage(message)
    }
    const dead = client.createReceiver(queue, { subQueueType: 'deadLetter' })
    const [a] = await dead.receiveMessages(1, { maxWaitTimeInMs: 3000 })
    const [b] = await dead.receiveMessages(1, { maxWaitTimeInMs: 3000 })
    assert.deepEqual([a?.body, a?.deadLetterReason, a?.deadLetterErrorDescription], ['a', 'why', 'because'])
    assert.deepEqual([b?.body, b?.deadLetterReason], ['b', 'MaxDeliveryCountExceeded'])
    await client.close()
  })

  it('gives sessions one by one, and none that somebody has', limit, async () => {
    const queue = `q-${randomUUID()}`
    await make(queue, 'QueueDescription', '<RequiresSession>true</RequiresSession>')
    const client = await sdkClient(address)
    await client.createSender(queue).sendMessages([
      { body: 'x1', messageId: 'x1', sessionId: 'x' },
      { body: 'x2', messageId: 'x2', sessionId: 'x' },
    ])
    const session = await client.acceptNextSession(queue)
    assert.equal(session.sessionId, 'x')
    assert.ok((await session.renewSessionLock()).getTime() > Date.now())
    const [message] = await session.receiveMessages(1, { maxWaitTimeInMs: 3000 })
    assert.equal(message?.body, 'x1')
    await assert.rejects(client.acceptSession(queue, 'x'), /cannot be accepted|may be locked/i)
    await session.close()
    await client.close()
  })

  it('holds a scheduled message back, copies to each subscription, and refuses what is not there', limit, async () => {
    const topic = `t-${randomUUID()}`
    await make(topic, 'TopicDescription')
    await make(`${topic}/Subscriptions/s1`, 'SubscriptionDescription')
    await make(`${topic}/Subscriptions/s2`, 'SubscriptionDescription')
    const client = await sdkClient(address)
    const due = Date.now() + 700
    await client.createSender(topic).sendMessages({ body: 'later', messageId: 'l', scheduledEnqueueTimeUtc: new Date(due) })
    for (const name of ['s1', 's2']) {
      const [message] = await client.createReceiver(topic, name).receiveMessages(1, { maxWaitTimeInMs: 5000 })
      assert.equal(message?.body, 'later')
      assert.ok(Date.now() >= due - 20)
    }
    await assert.rejects(client.createReceiver(topic, 'none').receiveMessages(1), /could not be found/)
    await client.close()
  })
})

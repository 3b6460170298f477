import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { createHttpChannel } from '../../app/http-channel.ts'
import { driver as inMemory } from '../../components/pubsub/in-memory/driver.ts'
import { createLogger } from '../../telemetry/log.ts'
import { type Answer, event, named, startApp, TestBroker, testBlock } from './harness.ts'
import type { Runner } from './policy-hook.ts'

const orders = [{ pubsubname: 'ps', topic: 'orders', route: '/on/orders' }]
const withDeadLetters = [{ pubsubname: 'ps', topic: 'orders', route: '/on/orders', deadLetterTopic: 'dead' }]

async function started(subscriptions: unknown, answer: () => Answer | Promise<Answer>, policy?: Runner) {
  const app = await startApp(subscriptions, answer)
  const broker = new TestBroker()
  const block = testBlock(broker, { app: app.channel, policies: policy && { inbound: () => policy, outbound: () => undefined } })
  await block.start()
  return { app, broker, block }
}

const logged = (block: { lines: string[] }, text: string) =>
  assert.ok(
    block.lines.some((line) => line.includes(text)),
    `no log line with ${text} in\n${block.lines.join('\n')}`,
  )

test('an event reaches the app as it was published', async () => {
  const { app, broker, block } = await started(orders, () => ({}))
  await using _ = app
  const text = '{"specversion":"1.0",  "id":"1","traceid":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}'
  await broker.deliver('orders', Buffer.from(text), {
    metadata: {
      own: 'x',
      'content-length': '3',
      'Content-Type': 'text/plain',
      'bad name': 'y',
      broken: 'a\nb',
      connection: 'close',
      'dapr-api-token': 'stolen',
    },
  })
  const [seen] = app.seen
  assert.equal(seen?.body, text)
  assert.equal(`${seen?.method} ${seen?.url}`, 'POST /on/orders')
  assert.equal(seen?.headers['content-type'], 'application/cloudevents+json')
  assert.equal(seen?.headers['content-length'], String(text.length))
  assert.equal(seen?.headers.pubsubname, 'ps')
  assert.equal(seen?.headers.own, 'x')
  assert.equal(seen?.headers.broken, undefined)
  assert.equal(seen?.headers['dapr-api-token'], undefined)
  assert.equal(seen?.headers.traceparent, '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01')
  logged(block, 'app is subscribed to the following topics: [[orders]] through pubsub=ps')
})

const acknowledged: [string, Answer][] = [
  ['200 and nothing', {}],
  ['201 and no JSON', { status: 201, body: 'ok' }],
  ['200 and JSON without status', { body: '{}' }],
  ['SUCCESS', { body: '{"status":"SUCCESS"}' }],
]
for (const [name, answer] of acknowledged) {
  test(`acknowledged without a dead letter: ${name}`, async () => {
    const { app, broker } = await started(withDeadLetters, () => answer)
    await using _ = app
    await broker.deliver('orders', event())
    assert.equal(app.seen.length, 1)
    assert.deepEqual(broker.published, [])
  })
}

for (const [name, answer, line] of [
  ['DROP', { body: '{"status":"DROP"}' }, 'DROP status returned from app while processing pub/sub event e-1'],
  [
    '404',
    { status: 404, body: 'no' },
    'non-retriable error returned from app while processing pub/sub event e-1: no. status code returned: 404',
  ],
] as [string, Answer, string][]) {
  test(`${name} is acknowledged, and dead-lettered where there is a topic for it`, async () => {
    const plain = await started(orders, () => answer)
    await using _ = plain.app
    await plain.broker.deliver('orders', event())
    assert.deepEqual(plain.broker.published, [])
    logged(plain.block, line)

    const dead = await started(withDeadLetters, () => answer)
    await using __ = dead.app
    await dead.broker.deliver('orders', event(), { metadata: { kept: 'k' } })
    assert.deepEqual(
      dead.broker.published.map(({ topic, data, metadata }) => [topic, JSON.parse(data.toString()), metadata]),
      [['dead', event(), { kept: 'k' }]],
    )
  })
}

const failures: [string, Answer, RegExp][] = [
  ['RETRY', { body: '{"status":"RETRY"}' }, /^RETRY status returned from app while processing pub\/sub event e-1$/],
  ['unknown status', { body: '{"status":"success"}' }, /^unknown status returned from app while processing pub\/sub event e-1: success$/],
  [
    '500',
    { status: 500, body: 'oh' },
    /^retriable error returned from app while processing pub\/sub event e-1, topic: orders, body: oh\. status code returned: 500$/,
  ],
  ['302', { status: 302 }, /status code returned: 302$/],
]
for (const [name, answer, message] of failures) {
  test(`${name} goes back to the broker, or to the dead letters`, async () => {
    const plain = await started(orders, () => answer)
    await using _ = plain.app
    await assert.rejects(plain.broker.deliver('orders', event()), { name: 'DeliveryError', message })

    const dead = await started(withDeadLetters, () => answer)
    await using __ = dead.app
    await dead.broker.deliver('orders', event())
    assert.deepEqual(
      dead.broker.published.map(({ topic }) => topic),
      ['dead'],
    )

    dead.broker.refusal = () => new Error('broker full')
    await assert.rejects(dead.broker.deliver('orders', event()), /broker full/)
  })
}

test('an unreachable app sends nothing to the dead letters', async () => {
  const { app, broker } = await started(withDeadLetters, () => ({}))
  await app[Symbol.asyncDispose]()
  await assert.rejects(broker.deliver('orders', event()), (error: { unreachable?: boolean }) => error.unreachable === true)
  assert.deepEqual(broker.published, [])
})

test('a policy has its attempts before the dead letters, and sees the status', async () => {
  const statuses: unknown[] = []
  const thrice: Runner = async (operation, signal) => {
    for (let left = 2; ; left--) {
      try {
        return await operation(signal)
      } catch (error) {
        statuses.push((error as { status?: number }).status)
        if (left === 0) throw error
      }
    }
  }
  const { app, broker } = await started(withDeadLetters, () => ({ status: 503 }), thrice)
  await using _ = app
  await broker.deliver('orders', event())
  assert.deepEqual(statuses, [503, 503, 503])
  assert.deepEqual(
    broker.published.map(({ topic }) => topic),
    ['dead'],
  )
})

test('an expired event is dropped unseen, one with an unreadable expiration is not', async () => {
  const { app, broker, block } = await started(withDeadLetters, () => ({}))
  await using _ = app
  await broker.deliver('orders', event({ expiration: '2020-01-01T00:00:00Z' }))
  assert.equal(app.seen.length, 0)
  assert.deepEqual(
    broker.published.map(({ topic }) => topic),
    ['dead'],
  )
  logged(block, 'dropping expired pub/sub event e-1 as of 2020-01-01T00:00:00Z')
  await broker.deliver('orders', event({ expiration: '2020' }))
  assert.equal(app.seen.length, 1)
})

test('what is no event goes back to the broker, or to the dead letters', async () => {
  for (const payload of ['{', '[]', 'hi', '']) {
    const plain = await started(orders, () => ({}))
    await using _ = plain.app
    await assert.rejects(plain.broker.deliver('orders', Buffer.from(payload)), /error reading event/)
    const dead = await started(withDeadLetters, () => ({}))
    await using __ = dead.app
    await dead.broker.deliver('orders', Buffer.from(payload))
    assert.deepEqual(
      dead.broker.published.map(({ data }) => data.toString()),
      [payload],
    )
    assert.equal(dead.app.seen.length, 0)
  }
})

test('rules choose the route; without a match the event is dropped', async () => {
  const { app, broker } = await started(
    [
      {
        pubsubname: 'ps',
        topic: 'orders',
        routes: {
          rules: [
            { match: 'event.type == "widget"', path: '/w' },
            { match: 'event.data.x > 3', path: '/x' },
          ],
        },
      },
    ],
    () => ({}),
  )
  await using _ = app
  await broker.deliver('orders', event({ type: 'widget' }))
  await broker.deliver('orders', event())
  await broker.deliver('orders', event({ data: { x: 1 } }))
  assert.deepEqual(
    app.seen.map(({ url }) => url),
    ['/w', '/x'],
  )
  await assert.rejects(broker.deliver('orders', event({ data: {} })), /No such key/)
})

test('a raw subscription wraps what it gets, binary mode does not', async () => {
  const { app, broker } = await started(
    [
      { pubsubname: 'ps', topic: 'raw', route: '/raw', metadata: { rawPayload: 'true' } },
      { pubsubname: 'ps', topic: 'binary', routes: { rules: [{ match: 'event.type == "t"', path: '/b' }] } },
    ],
    () => ({}),
  )
  await using _ = app
  await broker.deliver('raw', Buffer.from('hi'))
  const made = JSON.parse(app.seen[0]?.body ?? '') as Record<string, unknown>
  assert.deepEqual(
    { ...made, id: typeof made.id },
    {
      data_base64: 'aGk=',
      datacontenttype: 'application/octet-stream',
      id: 'string',
      pubsubname: 'ps',
      source: 'Dapr',
      specversion: '1.0',
      topic: 'raw',
      type: 'com.dapr.event.sent',
    },
  )
  assert.equal(app.seen[0]?.headers.traceparent, undefined)
  await broker.deliver('binary', Buffer.from([1, 2]), { contentType: 'application/octet-stream', metadata: { CE_Type: 't' } })
  assert.equal(app.seen[1]?.body, '\x01\x02')
})

test('resources subscribe too, after the app, and follow changes', async () => {
  const app = await startApp(orders)
  await using _ = app
  const broker = new TestBroker()
  const block = testBlock(broker, { app: app.channel }, { subscriptionscopes: 'myapp=orders,a,b' })
  const resource = (name: string, topic: string, route: string) => ({
    kind: 'Subscription',
    apiVersion: 'dapr.io/v1alpha1',
    metadata: { name },
    spec: { pubsubname: 'ps', topic, route },
  })
  await block.declare([resource('one', 'a', '/a')])
  assert.deepEqual(
    block.list().map(({ topic, type }) => [topic, type]),
    [['a', 'DECLARATIVE']],
  )
  assert.equal(broker.subscribed.length, 0)
  await block.start({
    declarative: [
      resource('one', 'a', '/a'),
      resource('two', 'orders', '/two'),
      resource('three', 'secret', '/s'),
      {
        ...resource('bad', 'b', '/b'),
        apiVersion: 'dapr.io/v2alpha1',
        spec: { pubsubname: 'ps', topic: 'b', routes: { rules: [{ match: '((', path: '/b' }] } },
      },
    ],
  })
  assert.deepEqual(
    broker.subscribed.map(({ topic }) => topic),
    ['orders', 'a'],
  )
  logged(block, "subscription to topic 'secret' on pubsub 'ps' is not allowed")
  logged(block, 'failed to load subscription bad')
  await broker.deliver('orders', event())
  assert.equal(app.seen[0]?.url, '/on/orders')

  await block.declare([resource('one', 'a', '/a'), resource('four', 'b', '/b')])
  assert.deepEqual(
    broker.subscribed.map(({ topic }) => topic),
    ['orders', 'a', 'b'],
    'what has not changed keeps running',
  )
  await block.declare([resource('one', 'a', '/a2')])
  await broker.deliver('a', event())
  assert.equal(app.seen[1]?.url, '/a2')
  assert.deepEqual([...broker.handlers.keys()], ['orders', 'a'])
  await block.stop()
  assert.deepEqual([...broker.handlers.keys()], [])
  await block.start()
  assert.deepEqual([...broker.handlers.keys()], ['orders', 'a'])
  assert.equal(block.list().length, 2)
})

test('subscriptions wait for their component and leave with it', async () => {
  const app = await startApp(orders)
  await using _ = app
  const components = new Map([['other', named(new TestBroker(), {}, 'other')]])
  const block = testBlock(new TestBroker(), { app: app.channel, components })
  await block.start()
  const broker = new TestBroker()
  components.set('ps', named(broker))
  await block.refresh()
  assert.deepEqual([...broker.handlers.keys()], ['orders'])
  components.delete('ps')
  await block.refresh()
  assert.deepEqual([...broker.handlers.keys()], [])
})

test('one broken rule of the app fails its whole list; 404 and askApp false mean none', async () => {
  const bad = await started([...orders, { pubsubname: 'ps', topic: 'b', routes: { rules: [{ match: '((', path: '/' }] } }], () => ({}))
  await using _ = bad.app
  assert.deepEqual(bad.block.list(), [])
  logged(bad.block, 'error getting topic list from app')
  const none = await started(undefined, () => ({}))
  await using __ = none.app
  assert.deepEqual(none.block.list(), [])
  const unasked = testBlock(new TestBroker(), { app: bad.app.channel, askApp: false })
  await unasked.start()
  logged(unasked, 'Skipping programmatic subscription loading')
})

test('an app that is not there yet is asked again', async () => {
  const probe = createServer()
  probe.listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  await new Promise((closed) => probe.close(closed))
  await using channel = createHttpChannel({ port })
  const broker = new TestBroker()
  const block = testBlock(broker, {
    app: {
      ...channel,
      request: channel.request,
      ready: channel.ready,
      async call(request) {
        try {
          return await channel.call(request)
        } catch (error) {
          if (!server.listening) server.listen(port, '127.0.0.1')
          throw error
        }
      },
    },
  })
  const server = createServer((_, response) => response.end(JSON.stringify(orders)))
  await block.start()
  assert.deepEqual([...broker.handlers.keys()], ['orders'])
  server.closeAllConnections()
  server.close()
})

test('when a subscription ends, a call under way finishes and nothing is dead-lettered', async () => {
  const arrived = Promise.withResolvers<void>()
  const answer = Promise.withResolvers<Answer>()
  const { app, broker, block } = await started(withDeadLetters, () => {
    arrived.resolve()
    return answer.promise
  })
  await using _ = app
  const handler = broker.handlers.get('orders')
  const delivered = broker.deliver('orders', event())
  await arrived.promise
  await block.stop()
  const live = new AbortController().signal
  await assert.rejects(handler?.({ topic: 'orders', data: Buffer.from('{}'), metadata: {} }, live) as Promise<void>, /has ended/)
  answer.resolve({ status: 500 })
  await assert.rejects(delivered, /status code returned: 500/)
  assert.deepEqual(broker.published, [])
  assert.equal(app.seen.length, 1)
})

test('an aborted delivery lets go of the app at once', async () => {
  const arrived = Promise.withResolvers<void>()
  const { app, broker } = await started(withDeadLetters, () => {
    arrived.resolve()
    return new Promise<Answer>(() => {})
  })
  await using _ = app
  const end = new AbortController()
  const delivered = broker.deliver('orders', event(), {}, end.signal)
  await arrived.promise
  end.abort()
  await assert.rejects(delivered)
  assert.deepEqual(broker.published, [])
})

test('a stream gets events by its own function', async () => {
  const broker = new TestBroker()
  const block = testBlock(broker, {}, { subscriptionscopes: 'myapp=orders' })
  const paths: string[] = []
  await using stream = await block.stream(
    { pubsubName: 'ps', topic: 'orders', metadata: {}, deadLetterTopic: 'dead' },
    async ({ path, event: { id } }) => {
      paths.push(`${path} ${String(id)}`)
      return 'DROP'
    },
  )
  await broker.deliver('orders', event())
  assert.deepEqual(paths, ['/ e-1'])
  assert.equal(broker.published[0]?.topic, 'dead')
  assert.deepEqual(
    block.list().map(({ type }) => type),
    ['STREAMING'],
  )
  await stream[Symbol.asyncDispose]()
  assert.deepEqual(block.list(), [])
  await assert.rejects(
    block.stream({ pubsubName: 'ps', topic: 'x', metadata: {} }, async () => 'SUCCESS'),
    /not allowed/,
  )
  await assert.rejects(
    block.stream({ pubsubName: 'no', topic: 'x', metadata: {} }, async () => 'SUCCESS'),
    /pubsub no is not found/,
  )
})

test('with a real driver: what the app refuses comes again until it is handled', async () => {
  let calls = 0
  const handled = Promise.withResolvers<void>()
  const app = await startApp(orders, () => {
    calls++
    if (calls < 3) return { status: 500 }
    handled.resolve()
    return {}
  })
  await using _ = app
  const log = createLogger({ level: 'fatal', json: false, appId: 'myapp', version: 'test' })
  await using broker = inMemory.create({
    name: 'ps',
    type: 'pubsub.in-memory',
    version: 'v1',
    properties: { redeliverInterval: '5ms' },
    appId: 'myapp',
    namespace: 'default',
    log,
  })
  await using block = testBlock(broker, { app: app.channel })
  await block.start()
  await block.publish({ pubsubName: 'ps', topic: 'orders', data: Buffer.from('{"x":1}'), contentType: 'application/json', metadata: {} })
  await handled.promise
  assert.equal(calls, 3)
  assert.equal(new Set(app.seen.map(({ body }) => body)).size, 1, 'the same event each time')
})

test('a subscription that ends does not wait for a policy that pauses between two attempts', async () => {
  const pausing = Promise.withResolvers<void>()
  const policy: Runner = async (operation) => {
    for (;;) {
      try {
        return await operation(undefined)
      } catch {
        pausing.resolve()
        // A pause without an end.
        await new Promise(() => {})
      }
    }
  }
  await using app = await startApp([{ pubsubname: 'ps', topic: 'orders', route: '/on', deadLetterTopic: 'dead' }], () => ({ status: 500 }))
  const broker = new TestBroker()
  const block = testBlock(broker, { app: app.channel, policies: { inbound: () => policy, outbound: () => undefined } })
  await block.start()
  const settled = broker.deliver('orders', event())
  await pausing.promise
  await block.stop()
  await assert.rejects(settled, /has ended/)
  assert.deepEqual(broker.published, [])
})

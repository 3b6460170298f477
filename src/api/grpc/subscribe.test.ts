import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createPubSubBlock, type PubSubBlock } from '../../blocks/pubsub/block.ts'
import type { PubSub } from '../../blocks/pubsub/driver.ts'
import { event, named, TestBroker } from '../../blocks/pubsub/harness.ts'
import { driver as inMemory } from '../../components/pubsub/in-memory/driver.ts'
import { Code } from '../../errors.ts'
import { createLogger } from '../../telemetry/log.ts'
import type { GrpcClientStream } from '../../transport/grpc/client.ts'
import { frame } from '../../transport/grpc/frames.ts'
import type { GrpcStatus } from '../../transport/grpc/status.ts'
import { ProtoReader, ProtoWriter } from '../../transport/grpc/wire.ts'
import { type GrpcHarness, serveGrpc } from './harness.ts'
import { DAPR } from './method.ts'
import { subscribeMethods } from './subscribe.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'myapp', version: 'test' })

interface Event {
  id: string
  topic: string
  data: string
  path: string
}

/** The app's end of one stream. */
class AppStream {
  readonly call: GrpcClientStream
  /** Resolves with the status it ends with; undefined: OK. */
  readonly closed: Promise<GrpcStatus | undefined>
  readonly #events: Event[] = []
  readonly #waiting: ((event: Event) => void)[] = []
  readonly #subscribed = Promise.withResolvers<void>()

  constructor(api: GrpcHarness) {
    const over = Promise.withResolvers<GrpcStatus | undefined>()
    this.closed = over.promise
    this.call = api.client.stream(
      api.address,
      `${DAPR}SubscribeTopicEventsAlpha1`,
      {},
      { onMessage: (message) => this.#receive(message), onClose: over.resolve },
    )
  }

  #receive(message: Buffer): void {
    const reader = new ProtoReader(message)
    reader.next()
    if (reader.field === 1) return this.#subscribed.resolve()
    const found: Event = { id: '', topic: '', data: '', path: '' }
    const body = reader.message()
    while (body.next()) {
      if (body.field === 1) found.id = body.string()
      else if (body.field === 6) found.topic = body.string()
      else if (body.field === 7) found.data = body.bytes().toString()
      else if (body.field === 9) found.path = body.string()
      else body.skip()
    }
    const waiting = this.#waiting.shift()
    if (waiting) waiting(found)
    else this.#events.push(found)
  }

  #send(write: (writer: ProtoWriter) => void): void {
    const writer = new ProtoWriter()
    write(writer)
    this.call.write(frame(writer.take()))
  }

  ask(pubsubName: string, topic: string, deadLetterTopic = ''): void {
    this.#send((writer) => {
      const mark = writer.begin(1)
      writer.string(1, pubsubName)
      writer.string(2, topic)
      writer.string(4, deadLetterTopic)
      writer.end(mark)
    })
  }

  /** Resolves when the sidecar has said that the subscription is active. */
  async subscribe(topic: string, deadLetterTopic = ''): Promise<this> {
    this.ask('ps', topic, deadLetterTopic)
    await Promise.race([this.#subscribed.promise, this.closed.then((status) => assert.fail(`the stream ended: ${status?.message}`))])
    return this
  }

  answer(id: string, status: number): void {
    this.#send((writer) => {
      const mark = writer.begin(2)
      writer.string(1, id)
      const inner = writer.begin(2)
      writer.uint(1, status)
      writer.end(inner)
      writer.end(mark)
    })
  }

  next(): Promise<Event> {
    const event = this.#events.shift()
    return event ? Promise.resolve(event) : new Promise((resolve) => this.#waiting.push(resolve))
  }
}

function blockOver(component: PubSub, properties: Record<string, string> = {}): PubSubBlock {
  return createPubSubBlock({ components: new Map([['ps', named(component, properties)]]), appId: 'myapp', namespace: '', log })
}

async function setUp(component: PubSub = new TestBroker(), properties: Record<string, string> = {}) {
  const block = blockOver(component, properties)
  const api = await serveGrpc({ methods: subscribeMethods(block, log) })
  return {
    block,
    api,
    broker: component as TestBroker,
    stream: () => new AppStream(api),
    async [Symbol.asyncDispose]() {
      await api[Symbol.asyncDispose]()
      await block[Symbol.asyncDispose]()
    },
  }
}

function memory(properties: Record<string, string> = {}): PubSub {
  return inMemory.create({ name: 'ps', type: 'pubsub.in-memory', version: 'v1', properties, appId: 'myapp', namespace: '', log })
}

test('an event is sent, and its answer settles it', async () => {
  await using given = await setUp()
  const stream = await given.stream().subscribe('orders', 'dead')
  assert.deepEqual(given.block.list(), [
    { pubsubname: 'ps', topic: 'orders', deadLetterTopic: 'dead', rules: [{ path: '/' }], type: 'STREAMING' },
  ])
  const { broker } = given
  const good = broker.deliver('orders', event({ id: 'good' }))
  assert.deepEqual(await stream.next(), { id: 'good', topic: 'orders', data: '{"x":4}', path: '/' })
  stream.answer('good', 0)
  await good
  assert.equal(broker.published.length, 0)
  for (const [id, status] of [
    ['drop', 2],
    ['again', 1],
    ['odd', 9],
  ] as const) {
    const settled = broker.deliver('orders', event({ id }))
    await stream.next()
    stream.answer(id, status)
    await settled
    // Dropped and failed ones are acknowledged because the dead letters have them.
    assert.deepEqual([broker.published.at(-1)?.topic, JSON.parse(String(broker.published.at(-1)?.data)).id], ['dead', id])
  }
})

test('RETRY without a dead letter topic fails the delivery; events are under way at once and settle in any order', async () => {
  await using given = await setUp()
  const stream = await given.stream().subscribe('orders')
  const outcomes: string[] = []
  const deliver = (id: string) =>
    given.broker.deliver('orders', event({ id })).then(
      () => outcomes.push(`${id} done`),
      (error: Error) => outcomes.push(`${id} ${error.message}`),
    )
  const all = [deliver('a'), deliver('b'), deliver('c')]
  assert.deepEqual([(await stream.next()).id, (await stream.next()).id, (await stream.next()).id], ['a', 'b', 'c'])
  stream.answer('nobody', 0)
  stream.answer('c', 0)
  await all[2]
  stream.answer('b', 1)
  await all[1]
  stream.answer('a', 0)
  await all[0]
  assert.deepEqual(outcomes, ['c done', 'b RETRY status returned from app while processing pub/sub event b', 'a done'])
})

test('two events with one id each take one answer', async () => {
  await using given = await setUp()
  const stream = await given.stream().subscribe('orders')
  const first = given.broker.deliver('orders', event({ id: 'same' }))
  const second = given.broker.deliver('orders', event({ id: 'same' }))
  await stream.next()
  await stream.next()
  stream.answer('same', 0)
  stream.answer('same', 1)
  await first
  await assert.rejects(second, /RETRY/)
})

test('a stream that goes away gives back what it has not answered, at once and to no dead letter', async () => {
  await using given = await setUp()
  for (const leave of [(stream: AppStream) => stream.call.cancel(), (stream: AppStream) => stream.call.end()]) {
    const stream = await given.stream().subscribe('orders', 'dead')
    const settled = given.broker.deliver('orders', event())
    await stream.next()
    leave(stream)
    await assert.rejects(settled, /stream closed|has ended/)
    await stream.closed
    assert.deepEqual([given.block.list(), given.broker.published], [[], []])
  }
})

test('what a stream left unanswered comes to the next one that subscribes', async () => {
  // One broker, shared: with groups, so that a message is for either stream.
  const { driver } = await import('../../components/pubsub/sqlite/driver.ts')
  const component = driver.create({
    name: 'ps',
    type: 'pubsub.sqlite',
    version: 'v1',
    properties: { connectionString: ':memory:', redeliverInterval: '60s' },
    appId: 'myapp',
    namespace: '',
    log,
  })
  await component.init(AbortSignal.timeout(5000))
  {
    await using given = await setUp(component)
    const first = await given.stream().subscribe('orders')
    await component.publish({ topic: 'orders', data: Buffer.from(JSON.stringify(event({ id: 'one' }))), metadata: {} })
    assert.equal((await first.next()).id, 'one')
    const second = await given.stream().subscribe('orders')
    first.call.cancel()
    // At once: counted as a failure it would rest for a minute.
    assert.equal((await second.next()).id, 'one')
    second.answer('one', 0)
  }
  await component[Symbol.asyncDispose]()
})

test('each of many streams on one topic gets the events of a broker without groups, in order', async () => {
  await using given = await setUp(memory())
  const streams = await Promise.all([1, 2, 3].map(() => given.stream().subscribe('orders')))
  const wanted = Array.from({ length: 200 }, (_, index) => String(index))
  const received = Promise.all(
    streams.map(async (stream) => {
      const ids: string[] = []
      while (ids.length < wanted.length) {
        const { id } = await stream.next()
        ids.push(id)
        stream.answer(id, 0)
      }
      return ids
    }),
  )
  for (const id of wanted)
    await given.block.publish({ pubsubName: 'ps', topic: 'orders', data: Buffer.from('{}'), metadata: { 'cloudevent.id': id } })
  assert.deepEqual(await received, [wanted, wanted, wanted])
  assert.equal(given.block.list().length, 3)
})

test('an app that does not read holds at most what its handlers hold, and attempts given up leave nothing behind', async () => {
  const attempts: AbortController[] = []
  const broker = new TestBroker()
  const block = createPubSubBlock({
    components: new Map([['ps', named(broker)]]),
    appId: 'myapp',
    namespace: '',
    log,
    policies: {
      outbound: () => undefined,
      inbound: () => async (operation) => {
        for (let attempt = 0; ; attempt++) {
          const given = new AbortController()
          attempts.push(given)
          try {
            return await operation(given.signal)
          } catch (error) {
            if (attempt === 2) throw error
          }
        }
      },
    },
  })
  await using api = await serveGrpc({ methods: subscribeMethods(block, log) })
  const stream = await new AppStream(api).subscribe('orders')
  stream.call.pause()
  const big = 'x'.repeat(3 << 20)
  // More than the windows of the connection hold: the later ones wait unsent.
  const settled = Promise.allSettled(
    [1, 2, 3].map((id) => broker.deliver('orders', event({ id: String(id), data: big, datacontenttype: 'text/plain' }))),
  )
  assert.equal(attempts.length, 3)
  for (let round = 0; round < 3; round++) {
    for (const attempt of attempts.slice(-3)) attempt.abort(new Error('too slow'))
    await new Promise((resolve) => setImmediate(resolve))
  }
  assert.deepEqual(
    (await settled).map((outcome) => (outcome as PromiseRejectedResult).reason.message),
    ['too slow', 'too slow', 'too slow'],
  )
  assert.equal(attempts.length, 9)
  // Nine attempts were made; what the app now reads is the few that had been written, then the new one.
  const fresh = broker.deliver('orders', event({ id: 'fresh' }))
  stream.call.resume()
  const seen: string[] = []
  while (seen.at(-1) !== 'fresh') seen.push((await stream.next()).id)
  assert.ok(seen.length <= 4, seen.join())
  stream.answer('fresh', 0)
  await fresh
  stream.call.cancel()
  await block[Symbol.asyncDispose]()
})

test('wrong requests end the stream in daprd’s words', async () => {
  await using given = await setUp(new TestBroker(), { subscriptionscopes: 'myapp=allowed' })
  const ending = async (send: (stream: AppStream) => void) => {
    const stream = given.stream()
    send(stream)
    const status = await stream.closed
    return [status?.code, status?.message]
  }
  assert.deepEqual(await ending((stream) => stream.ask('', 'a')), [Code.Unknown, 'pubsubName is required'])
  assert.deepEqual(await ending((stream) => stream.ask('ps', '')), [Code.Unknown, 'topic is required'])
  assert.deepEqual(await ending((stream) => stream.answer('x', 0)), [Code.Unknown, 'initial request is required'])
  assert.deepEqual(await ending((stream) => stream.ask('no', 'a')), [Code.InvalidArgument, 'pubsub no is not found'])
  assert.deepEqual(await ending((stream) => stream.ask('ps', 'a')), [
    Code.Unknown,
    "subscription to topic 'a' on pubsub 'ps' is not allowed",
  ])
  assert.deepEqual(await ending((stream) => stream.call.write(frame(Buffer.from([10, 200])))), [
    Code.Internal,
    'grpc: error unmarshalling request: proto: unexpected EOF',
  ])
  assert.equal((await given.stream().subscribe('allowed')) instanceof AppStream, true)
  assert.deepEqual(
    await ending((stream) => {
      stream.ask('ps', 'allowed')
      stream.ask('ps', 'allowed')
    }),
    [Code.Unknown, 'duplicate initial request received'],
  )
})

test('when the sidecar ends, an event under way may still be answered, and each stream hears of the end', async () => {
  await using given = await setUp(memory())
  const idle = given.stream()
  // The server must know it before the end begins.
  idle.call.write(Buffer.from([0, 0, 0]))
  const stream = await given.stream().subscribe('orders')
  await given.block.publish({ pubsubName: 'ps', topic: 'orders', data: Buffer.from('{}'), metadata: { 'cloudevent.id': 'last' } })
  assert.equal((await stream.next()).id, 'last')
  const disposed = given.block[Symbol.asyncDispose]()
  assert.equal((await idle.closed)?.message, 'api server closed')
  stream.answer('last', 0)
  await disposed
  assert.deepEqual([(await stream.closed)?.code, (await stream.closed)?.message], [Code.Unknown, 'stream closed'])
  const late = given.stream()
  late.ask('ps', 'orders')
  assert.equal((await late.closed)?.message, 'api server closed')
})

test('a stream follows its component when that is replaced', async () => {
  const components = new Map([['ps', named(new TestBroker())]])
  const block = createPubSubBlock({ components, appId: 'myapp', namespace: '', log })
  await using api = await serveGrpc({ methods: subscribeMethods(block, log) })
  const stream = await new AppStream(api).subscribe('orders')
  const next = new TestBroker()
  components.set('ps', named(next))
  await block.refresh()
  const settled = next.deliver('orders', event({ id: 'new' }))
  assert.equal((await stream.next()).id, 'new')
  stream.answer('new', 0)
  await settled
  stream.call.cancel()
  await block[Symbol.asyncDispose]()
})

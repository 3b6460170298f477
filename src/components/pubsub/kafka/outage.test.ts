import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { kafka, type OwnKafka, startKafka } from '../../../../test/servers/kafka.ts'
import type { PubSub } from '../../../blocks/pubsub/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { driver } from './driver.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const limit = { timeout: 90_000 }

async function open(properties: Record<string, string>): Promise<PubSub> {
  const pubsub = driver.create({ name: 'orders', type: 'pubsub.kafka', version: 'v1', properties, appId: 'app', namespace: 'default', log })
  try {
    await pubsub.init(AbortSignal.timeout(10_000))
  } catch (error) {
    await pubsub[Symbol.asyncDispose]()
    throw error
  }
  return pubsub
}

function counter() {
  const seen = new Map<string, number>()
  let wake: (() => void) | undefined
  return {
    seen,
    add(text: string) {
      seen.set(text, (seen.get(text) ?? 0) + 1)
      wake?.()
    },
    async until(done: () => boolean) {
      while (!done()) {
        const { promise, resolve } = Promise.withResolvers<void>()
        wake = resolve
        await promise
      }
    },
  }
}

/** One broker for all, in this order: a new cluster, one that is cut and comes back, one that is gone. */
describe('pubsub.kafka without its broker', { skip: kafka.available() ? false : 'Kafka is not on this machine' }, () => {
  let server: OwnKafka | undefined
  before(async () => {
    server = await startKafka()
  })
  after(() => server?.stop())

  it('does not pass over what is published while a new group forms', limit, async () => {
    assert.ok(server)
    const properties = { brokers: server.address, authType: 'none' }
    await using pubsub = await open(properties)
    await pubsub.publish({ topic: 'new', data: Buffer.from('older'), metadata: {} })
    const box = counter()
    // The first group of a cluster waits for the topic of offsets to be made.
    const subscribing = pubsub.subscribe('new', {}, async ({ data }) => box.add(data.toString()))
    let done = false
    const subscribed = subscribing.finally(() => {
      done = true
    })
    const sent: string[] = []
    while (!done) {
      const text = `m${sent.length}`
      await pubsub.publish({ topic: 'new', data: Buffer.from(text), metadata: {} })
      sent.push(text)
    }
    await using _subscription = await subscribed
    await box.until(() => sent.slice(10).every((text) => box.seen.has(text)))
    assert.ok(sent.length > 20, `${sent.length} were published meanwhile`)
    assert.ok(!box.seen.has('older'))
  })

  it('waits a bounded time, says what is wrong, and goes on by itself', limit, async () => {
    assert.ok(server)
    await using pubsub = await open({
      brokers: server.address,
      authType: 'none',
      writeTimeout: '1s',
      dialTimeout: '1s',
    })
    const box = counter()
    await using _subscription = await pubsub.subscribe('cut', {}, async ({ data }) => box.add(data.toString()))
    const acknowledged: string[] = []
    const send = async (text: string) => {
      await pubsub.publish({ topic: 'cut', data: Buffer.from(text), metadata: {} })
      acknowledged.push(text)
    }
    const untilSent = async (text: string) => {
      for (;;) {
        try {
          return await send(text)
        } catch {
          await new Promise((resolve) => setTimeout(resolve, 50))
        }
      }
    }
    const failsSoon = async (text: string, message: RegExp) => {
      const start = Date.now()
      await assert.rejects(send(text), message)
      assert.ok(Date.now() - start < 3000, `${Date.now() - start} ms`)
    }
    await send('before')
    await box.until(() => box.seen.has('before'))

    // It hangs: connections stay open, nothing is answered.
    server.signal('SIGSTOP')
    await failsSoon(
      'stalled',
      /^Error: orders cannot publish to topic cut: .*127\.0\.0\.1:\d+.*; start the broker or correct the metadata field brokers$/,
    )
    await assert.rejects(async () => pubsub.ping?.(AbortSignal.timeout(5000)), /127\.0\.0\.1/)
    server.signal('SIGCONT')
    await untilSent('resumed')
    const resumed = Date.now()
    await box.until(() => box.seen.has('resumed'))
    assert.ok(Date.now() - resumed < 5000, `delivery came back ${Date.now() - resumed} ms after publishing`)

    // It is gone, and comes back with its data.
    await server.kill()
    await failsSoon('gone', /orders cannot publish to topic cut: no connection to the broker at 127\.0\.0\.1:\d+/)
    const sending = untilSent('returned')
    await server.restart()
    await sending
    const returned = Date.now()
    await box.until(() => box.seen.has('returned'))
    assert.ok(Date.now() - returned < 5000, `delivery came back ${Date.now() - returned} ms after publishing`)
    await pubsub.ping?.(AbortSignal.timeout(5000))
    assert.deepEqual(
      acknowledged.filter((text) => !box.seen.has(text)),
      [],
    )
  })

  it('closes at once while no broker answers', limit, async () => {
    assert.ok(server)
    const pubsub = await open({ brokers: server.address, authType: 'none' })
    await pubsub.subscribe('closing', {}, async () => {})
    await server.kill()
    const publishing = assert.rejects(pubsub.publish({ topic: 'closing', data: Buffer.from('x'), metadata: {} }))
    const start = Date.now()
    await pubsub[Symbol.asyncDispose]()
    await publishing
    assert.ok(Date.now() - start < 5000, `${Date.now() - start} ms`)
  })
})

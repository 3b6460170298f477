import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { Redis } from 'ioredis'
import { startProxy } from '../../../../test/servers/proxy.ts'
import { redisServer } from '../../../../test/servers/redis.ts'
import type { PubSub } from '../../../blocks/pubsub/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { startChild } from '../testing/process.ts'
import { driver } from './driver.ts'

const server = await redisServer()
const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const limit = { timeout: 60_000 }

async function open(properties: Record<string, string> = {}): Promise<PubSub> {
  const redisHost = `127.0.0.1:${server?.port}`
  const pubsub = driver.create({
    name: 'pubsub',
    type: 'pubsub.redis',
    version: 'v1',
    properties: { redisHost, ...properties },
    appId: 'app',
    namespace: 'default',
    log,
  })
  await pubsub.init(AbortSignal.timeout(10_000))
  return pubsub
}

describe('pubsub.redis', { skip: server === undefined ? 'redis-server is not on this machine' : false }, () => {
  const redis = new Redis({ port: server?.port ?? 0, lazyConnect: true, protocol: 2 })
  after(async () => {
    redis.disconnect()
    await server?.stop()
  })

  it("writes and reads Dapr's stream layout", limit, async () => {
    await using pubsub = await open()
    await pubsub.publish({ topic: 'layout', data: Buffer.from('{"a":1}'), metadata: { rawPayload: 'true' } })
    const [entry] = await redis.xrange('layout', '-', '+')
    assert.deepEqual(entry?.[1], ['data', '{"a":1}', 'metadata', '{"rawPayload":"true"}'])
    // As daprd publishes, with a nil metadata left out; the group reads from the beginning of the stream.
    await redis.xadd('layout', '*', 'data', 'plain')
    const got: string[] = []
    const both = Promise.withResolvers<void>()
    await using _subscription = await pubsub.subscribe('layout', {}, async (message) => {
      got.push(`${message.data} ${JSON.stringify(message.metadata)}`)
      if (got.length === 2) both.resolve()
    })
    await both.promise
    assert.deepEqual(got.sort(), ['plain {}', '{"a":1} {"rawPayload":"true"}'])
    const groups = (await redis.xinfo('GROUPS', 'layout')) as unknown[][]
    assert.equal(groups[0]?.[1], 'app')
  })

  it('delivers as soon as a publish comes through again after an outage', limit, async () => {
    await using proxy = await startProxy('127.0.0.1', server?.port ?? 0)
    // The reading connection would not look for the server within the time of this test: it hears from the other one.
    const never = { redisMinRetryInterval: '10m', redisMaxRetryInterval: '10m' }
    await using pubsub = await open({ ...never, redisHost: `127.0.0.1:${proxy.port}` })
    const came = new Map([1, 2].map((number) => [String(number), Promise.withResolvers<void>()]))
    await using _subscription = await pubsub.subscribe('outage', {}, async ({ data }) => came.get(String(data))?.resolve())
    const publish = (number: number) => pubsub.publish({ topic: 'outage', data: Buffer.from(String(number)), metadata: {} })
    await publish(1)
    await came.get('1')?.promise
    proxy.cut()
    await assert.rejects(publish(0))
    proxy.heal()
    while (
      !(await publish(2).then(
        () => true,
        () => false,
      ))
    )
      await new Promise(setImmediate)
    await came.get('2')?.promise
  })

  it('gives what a subscription leaves to another one of the topic when it ends', limit, async () => {
    await using pubsub = await open({ drainTimeout: '1ms', redeliverInterval: '60s' })
    const taken = Promise.withResolvers<void>()
    const first = await pubsub.subscribe('left', {}, (_, signal) => {
      taken.resolve()
      return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(new Error('ended'))))
    })
    await pubsub.publish({ topic: 'left', data: Buffer.from('one'), metadata: {} })
    await taken.promise
    const got: string[] = []
    await using _second = await pubsub.subscribe('left', {}, async (message) => void got.push(message.data.toString()))
    await first[Symbol.asyncDispose]()
    assert.deepEqual(got, ['one'])
  })

  it('trims to maxLenApprox', limit, async () => {
    await using pubsub = await open({ maxLenApprox: '100' })
    for (let index = 0; index < 500; index++) await pubsub.publish({ topic: 'trimmed', data: Buffer.from('x'), metadata: {} })
    const length = await redis.xlen('trimmed')
    assert.ok(length >= 100 && length < 300, `${length} entries`)
  })

  it('reads bare numbers as milliseconds and durations as they are written', () => {
    const fields = new Map(driver.metadata.map((field) => [field.name, field]))
    for (const name of ['processingTimeout', 'redeliverInterval'])
      assert.deepEqual([fields.get(name)?.kind, fields.get(name)?.unit], ['duration', 1])
  })

  it('takes over what a killed consumer was handling, without waiting for processingTimeout', limit, async () => {
    const properties = { redisHost: `127.0.0.1:${server?.port}`, consumerID: 'workers', processingTimeout: '1h' }
    await using pubsub = await open(properties)
    const child = startChild('pubsub.redis', 'hold', 'killed', 0, properties)
    await child.until(1)
    for (let index = 0; index < 5; index++) await pubsub.publish({ topic: 'killed', data: Buffer.from(`m${index}`), metadata: {} })
    await child.until(6)
    await child.kill()
    const got: string[] = []
    const all = Promise.withResolvers<void>()
    await using _subscription = await pubsub.subscribe('killed', {}, async (message) => {
      got.push(message.data.toString())
      if (got.length === 5) all.resolve()
    })
    await all.promise
    assert.deepEqual(got.sort(), ['m0', 'm1', 'm2', 'm3', 'm4'])
  })

  it('takes over from a foreign consumer after processingTimeout, and leaves nothing pending', limit, async () => {
    await redis.xgroup('CREATE', 'foreign', 'app', '0', 'MKSTREAM')
    await redis.xadd('foreign', '*', 'data', 'left', 'metadata', '{}')
    await redis.xreadgroup('GROUP', 'app', 'app', 'COUNT', 1, 'STREAMS', 'foreign', '>')
    {
      await using pubsub = await open({ processingTimeout: '100ms', redeliverInterval: '200' })
      const got = Promise.withResolvers<string>()
      await using _subscription = await pubsub.subscribe('foreign', {}, async (message) => got.resolve(message.data.toString()))
      assert.equal(await got.promise, 'left')
    }
    assert.equal(((await redis.xpending('foreign', 'app')) as unknown[])[0], 0)
  })

  it('goes on after the server dropped its connections and forgot the group', limit, async () => {
    await using pubsub = await open()
    const got: string[] = []
    const wake = Promise.withResolvers<void>()
    await using _subscription = await pubsub.subscribe('dropped', {}, async (message) => {
      got.push(message.data.toString())
      wake.resolve()
    })
    await redis.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
    await redis.del('dropped')
    await pubsub.publish({ topic: 'dropped', data: Buffer.from('after'), metadata: {} })
    await wake.promise
    assert.deepEqual(got, ['after'])
  })

  it('names the server when it is not there', limit, async () => {
    await assert.rejects(open({ redisHost: '127.0.0.1:1' }), /Redis at 127\.0\.0\.1:1/)
  })
})

import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, describe, it } from 'node:test'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { nats } from '../../../../test/servers/nats.ts'
import { findBinary, freePort } from '../../../../test/servers/process.ts'
import { startProxy } from '../../../../test/servers/proxy.ts'
import { help, ownServer } from '../../../../test/servers/server.ts'
import type { PubSub } from '../../../blocks/pubsub/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { startChild } from '../testing/process.ts'
import { makeStream } from '../testing/stream.ts'
import { driver } from './driver.ts'

const server = await ownServer(nats)
const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const limit = { timeout: 60_000 }
const servers = server?.address.replace('nats://', '') ?? ''

async function open(properties: Record<string, string> = {}): Promise<PubSub> {
  const all = { natsURL: server?.address ?? '', ...properties }
  const pubsub = driver.create({
    name: 'orders',
    type: 'pubsub.jetstream',
    version: 'v1',
    properties: all,
    appId: 'app',
    namespace: '',
    log,
  })
  await pubsub.init(AbortSignal.timeout(10_000))
  return pubsub
}

const send = (pubsub: PubSub, topic: string, text: string) => pubsub.publish({ topic, data: Buffer.from(text), metadata: {} })

function collector() {
  const texts: string[] = []
  const waiters = new Set<() => void>()
  return {
    texts,
    add(text: string) {
      texts.push(text)
      for (const wake of waiters) wake()
    },
    async until(done: () => boolean) {
      while (!done()) {
        const { promise, resolve } = Promise.withResolvers<void>()
        waiters.add(resolve)
        await promise
        waiters.delete(resolve)
      }
    },
  }
}

/** A server that may be killed and started again on its data. */
async function startNats(port: number, directory: string): Promise<ChildProcess> {
  const binary = findBinary('nats-server', ['/usr/sbin']) as string
  const child = spawn(binary, ['-a', '127.0.0.1', '-p', String(port), '-js', '-sd', directory], { stdio: ['ignore', 'ignore', 'pipe'] })
  const ready = Promise.withResolvers<void>()
  createInterface({ input: child.stderr as NodeJS.ReadableStream }).on(
    'line',
    (line) => line.includes('Server is ready') && ready.resolve(),
  )
  await ready.promise
  return child
}

describe('pubsub.jetstream', { skip: server === undefined ? help(nats) : false }, () => {
  after(() => server?.stop())

  it("publishes as daprd: the event's id makes the stream drop a second one", limit, async () => {
    await makeStream(server?.address as string, 'dedup', ['dedup.>'])
    await using pubsub = await open({ deliverPolicy: 'all' })
    const event = JSON.stringify({ specversion: '1.0', id: 'e1', data: 1 })
    for (const text of [event, event, '{"id":"e1"}', '{"id":"e1"}', 'plain']) await send(pubsub, 'dedup.a', text)
    const connection = await connect({ servers })
    const manager = await jetstreamManager(connection)
    const stored = await manager.streams.getMessage('dedup', { seq: 1 })
    assert.equal(stored?.header.get('Nats-Msg-Id'), 'e1')
    const inbox = collector()
    // Wildcards are subjects too; the message tells which.
    await using _subscription = await pubsub.subscribe('dedup.*', {}, async (message) => {
      assert.equal(message.topic, 'dedup.*')
      assert.deepEqual(message.metadata, { Topic: 'dedup.a' })
      inbox.add(message.data.toString())
    })
    await inbox.until(() => inbox.texts.length === 4)
    assert.deepEqual(inbox.texts, [event, '{"id":"e1"}', '{"id":"e1"}', 'plain'])
    await connection.close()
  })

  it("makes daprd's consumer from the settings, and deletes one without a name at the end", limit, async () => {
    await makeStream(server?.address as string, 'config', ['config'])
    const connection = await connect({ servers })
    const manager = await jetstreamManager(connection)
    {
      await using pubsub = await open({
        durableName: 'durable',
        queueGroupName: 'group',
        deliverPolicy: 'sequence',
        startSequence: '7',
        ackWait: '10s',
        maxDeliver: '5',
        backOff: '50ms, 1s, 10s',
        maxAckPending: '99',
        memoryStorage: 'true',
      })
      await using _subscription = await pubsub.subscribe('config', {}, async () => {})
      const { config } = await manager.consumers.info('config', 'durable')
      assert.match(config.deliver_subject ?? '', /^_INBOX\./)
      const expected = {
        durable_name: 'durable',
        deliver_group: 'group',
        deliver_policy: 'by_start_sequence',
        opt_start_seq: 7,
        ack_policy: 'explicit',
        max_deliver: 5,
        backoff: [50e6, 1e9, 10e9],
        max_ack_pending: 99,
        mem_storage: true,
        filter_subject: 'config',
      }
      for (const [name, value] of Object.entries(expected)) assert.deepEqual(config[name as keyof typeof config], value, name)
      await assert.rejects(
        pubsub.subscribe('config.other', {}, async () => {}),
        /topic config.other: no JetStream stream .* has it: create one/,
      )
    }
    {
      await using pubsub = await open({ heartbeat: '5s', flowControl: 'true' })
      await using _subscription = await pubsub.subscribe('config', {}, async () => {})
      const infos = await manager.consumers.list('config').next()
      assert.equal(infos.length, 2)
      const { config } = infos.find((info) => info.config.durable_name === undefined) as (typeof infos)[number]
      assert.equal(config.flow_control, true)
      assert.equal(config.idle_heartbeat, 5e9)
    }
    assert.equal((await manager.streams.info('config')).state.consumer_count, 1)
    await connection.close()
  })

  it('says how topics share a durableName', limit, async () => {
    await makeStream(server?.address as string, 'two', ['two.>'])
    await using pubsub = await open({ durableName: 'same' })
    await using _one = await pubsub.subscribe('two.a', {}, async () => {})
    await assert.rejects(
      pubsub.subscribe('two.b', {}, async () => {}),
      /consumer same is that of subject two.a: give each topic a durableName of its own/,
    )
  })

  it('lets no second process take a consumer that is not shared, and takes it over when it is free', limit, async () => {
    await makeStream(server?.address as string, 'alone', ['alone'])
    await using first = await open({ durableName: 'alone' })
    await using second = await open({ durableName: 'alone' })
    const subscription = await first.subscribe('alone', {}, async () => {})
    await assert.rejects(
      second.subscribe('alone', {}, async () => {}),
      /consumer alone is already bound to a subscription: set queueGroupName/,
    )
    await subscription[Symbol.asyncDispose]()
    await send(second, 'alone', 'left')
    const got = Promise.withResolvers<string>()
    await using _second = await second.subscribe('alone', {}, async ({ data }) => got.resolve(data.toString()))
    assert.equal(await got.promise, 'left')
  })

  it('answers the flow control of the server while thousands of messages come', limit, async () => {
    await makeStream(server?.address as string, 'flow', ['flow'])
    await using pubsub = await open({ heartbeat: '1s', flowControl: 'true', maxAckPending: '100000', concurrencyMode: 'parallel' })
    const data = Buffer.alloc(20_000)
    const sent = 3000
    for (let index = 0; index < sent; index += 100)
      await Promise.all(Array.from({ length: 100 }, () => pubsub.publish({ topic: 'flow', data, metadata: {} })))
    let count = 0
    const all = Promise.withResolvers<void>()
    await using _subscription = await pubsub.subscribe('flow', {}, async () => {
      if (++count === sent) all.resolve()
    })
    await all.promise
  })

  it('gives the messages of a killed member to another one after ackWait', limit, async () => {
    await makeStream(server?.address as string, 'killed', ['killed'])
    const properties = { natsURL: server?.address ?? '', durableName: 'd', queueGroupName: 'g', ackWait: '1s', concurrencyMode: 'parallel' }
    const child = startChild('pubsub.jetstream', 'hold', 'killed', 0, properties)
    await child.until(1)
    await using pubsub = await open(properties)
    for (let index = 0; index < 10; index++) await send(pubsub, 'killed', `m${index}`)
    await child.until(11)
    const inbox = collector()
    await using _subscription = await pubsub.subscribe('killed', {}, async ({ data }) => inbox.add(data.toString()))
    await child.kill()
    await inbox.until(() => new Set(inbox.texts).size === 10)
  })

  it('does not give a message again while a handler works on it longer than ackWait', limit, async () => {
    await makeStream(server?.address as string, 'slow', ['slow', 'slow2'])
    await using pubsub = await open({ ackWait: '300ms', concurrencyMode: 'parallel' })
    let deliveries = 0
    const handled = Promise.withResolvers<void>()
    const gate = Promise.withResolvers<void>()
    await using _subscription = await pubsub.subscribe('slow', {}, async () => {
      deliveries++
      await gate.promise
      handled.resolve()
    })
    await send(pubsub, 'slow', 'x')
    // Another message, refused and given again after ackWait three times, is the clock.
    let ticks = 0
    const enough = Promise.withResolvers<void>()
    await using _clock = await pubsub.subscribe('slow2', {}, async () => {
      if (++ticks === 4) enough.resolve()
      else throw new Error('again')
    })
    await send(pubsub, 'slow2', 'clock')
    await enough.promise
    gate.resolve()
    await handled.promise
    assert.equal(deliveries, 1)
  })

  it('keeps a failed message before the next with ackPolicy all', limit, async () => {
    await makeStream(server?.address as string, 'ackall', ['ackall'])
    await using pubsub = await open({ ackPolicy: 'all', durableName: 'a' })
    const inbox = collector()
    let failures = 2
    await using _subscription = await pubsub.subscribe('ackall', {}, async ({ data }) => {
      if (failures-- > 0) throw new Error('not yet')
      inbox.add(data.toString())
    })
    for (const text of ['one', 'two']) await send(pubsub, 'ackall', text)
    await inbox.until(() => inbox.texts.length === 2)
    assert.deepEqual(inbox.texts, ['one', 'two'])
  })

  it('survives cuts and kills of the server: nothing acknowledged is lost, delivery is back within a second', limit, async () => {
    const directory = mkdtempSync(join(tmpdir(), 'outrider-jetstream-'))
    const port = await freePort()
    let child = await startNats(port, directory)
    try {
      await makeStream(`nats://127.0.0.1:${port}`, 'faults', ['faults'])
      await using pubsub = await open({ natsURL: `nats://127.0.0.1:${port}`, publishTimeout: '10s' })
      const inbox = collector()
      // Without a name: the server forgets this consumer when it ends.
      await using _subscription = await pubsub.subscribe('faults', {}, async ({ data }) => inbox.add(data.toString()))
      const acknowledged: string[] = []
      let ending = false
      const publishing = (async () => {
        for (let index = 0; !ending; index++) {
          await send(pubsub, 'faults', `m${index}`)
          acknowledged.push(`m${index}`)
        }
      })()
      for (const signal of ['SIGTERM', 'SIGKILL', 'SIGKILL'] as const) {
        const seen = inbox.texts.length
        await inbox.until(() => inbox.texts.length > seen + 50)
        const gone = once(child, 'exit')
        child.kill(signal)
        await gone
        child = await startNats(port, directory)
        const back = performance.now()
        const then = inbox.texts.length
        await inbox.until(() => inbox.texts.length > then + 10)
        assert.ok(performance.now() - back < 1500, `back after ${performance.now() - back} ms`)
      }
      ending = true
      await publishing
      await inbox.until(() => acknowledged.every((text) => inbox.texts.includes(text)))
    } finally {
      child.kill('SIGKILL')
      rmSync(directory, { recursive: true, force: true })
    }
  })

  it('fails a publish that waited long enough, naming component, server and what to do', limit, async () => {
    await makeStream(server?.address as string, 'waits', ['waits'])
    const { hostname, port } = new URL(server?.address as string)
    await using proxy = await startProxy(hostname, Number(port))
    await using pubsub = await open({ natsURL: `nats://127.0.0.1:${proxy.port}`, publishTimeout: '300ms' })
    await send(pubsub, 'waits', 'fine')
    await assert.rejects(send(pubsub, 'nowhere', 'x'), /no JetStream stream of NATS at .* takes subject nowhere: create one/)
    proxy.stall()
    await assert.rejects(send(pubsub, 'waits', 'stalled'), {
      message: new RegExp(
        `^pub/sub component orders: NATS at 127.0.0.1:${proxy.port} has not acknowledged the message within 300 ms; .*try again`,
      ),
    })
    await assert.rejects(async () => pubsub.ping?.(AbortSignal.timeout(5000)), /has not answered/)
    const data = Buffer.alloc(2 ** 19)
    const results = await Promise.allSettled(Array.from({ length: 300 }, () => pubsub.publish({ topic: 'waits', data, metadata: {} })))
    const full = results.filter((result) => result.status === 'rejected' && /already; publish more slowly/.test(String(result.reason)))
    assert.ok(full.length >= 150, String(full.length))
    proxy.cut()
    await assert.rejects(send(pubsub, 'waits', 'cut'), /is not connected .*; gave up after 300 ms, try again when the server is back/)
    proxy.heal()
    const healed = Promise.withResolvers<void>()
    const trying = async (): Promise<void> => send(pubsub, 'waits', 'healed').then(healed.resolve, trying)
    await trying()
    await healed.promise
  })

  it('says who is refused when the login fails, without the secret', limit, async () => {
    const directory = mkdtempSync(join(tmpdir(), 'outrider-jetstream-'))
    const port = await freePort()
    const child = spawn(
      findBinary('nats-server', ['/usr/sbin']) as string,
      ['-a', '127.0.0.1', '-p', String(port), '-js', '-sd', directory, '--auth', 'right'],
      {
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    )
    try {
      const ready = Promise.withResolvers<void>()
      createInterface({ input: child.stderr }).on('line', (line) => line.includes('Server is ready') && ready.resolve())
      await ready.promise
      const natsURL = `nats://127.0.0.1:${port}`
      await using fine = await open({ natsURL, token: 'right' })
      await fine.ping?.(AbortSignal.timeout(5000))
      await using inUrl = await open({ natsURL: `nats://right@127.0.0.1:${port}` })
      await inUrl.ping?.(AbortSignal.timeout(5000))
      for (const properties of [{ natsURL, token: 'hush' }, { natsURL: `nats://me:hush@127.0.0.1:${port}` }] as Record<string, string>[])
        await assert.rejects(open(properties), (error: Error) => {
          assert.equal(error.message, `NATS at 127.0.0.1:${port} refuses the login: check token, jwt and seedKey, or the user in natsURL`)
          assert.ok(!`${error.stack}${error.cause}`.includes('hush'))
          return true
        })
      await assert.rejects(open({ natsURL: 'nats://127.0.0.1:1' }), /cannot connect to NATS at 127.0.0.1:1: connection refused/)
    } finally {
      child.kill('SIGKILL')
      rmSync(directory, { recursive: true, force: true })
    }
  })

  it('refuses settings that cannot be', async () => {
    for (const [properties, text] of [
      [{ natsURL: '' }, /^MetadataError: missing nats URL$/],
      [{ jwt: 'a' }, /^MetadataError: missing seed key$/],
      [{ seedKey: 'a' }, /^MetadataError: missing jwt$/],
      [{ tls_client_cert: 'a' }, /^MetadataError: missing tls client key$/],
      [{ tls_client_key: 'a' }, /^MetadataError: missing tls client cert$/],
      [{ deliverPolicy: 'x' }, /^MetadataError: deliver policy x is not one of: all, last, new, sequence, time$/],
      [{ concurrency: 'wild' }, /invalid concurrencyMode wild/],
    ] as const)
      await assert.rejects(open(properties), (error: Error) => {
        assert.match(String(error), text)
        return true
      })
  })
})

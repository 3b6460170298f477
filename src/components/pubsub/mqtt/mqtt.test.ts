import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { mosquitto } from '../../../../test/servers/mosquitto.ts'
import { announced, end, findBinary, freePort } from '../../../../test/servers/process.ts'
import { serverOf } from '../../../../test/servers/server.ts'
import type { DeliveredMessage, PubSub } from '../../../blocks/pubsub/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { matches } from '../../mqtt/filter.ts'
import { startChild } from '../testing/process.ts'
import { driver } from './driver.ts'

const server = await serverOf(mosquitto)
const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const limit = { timeout: 60_000 }

async function open(properties: Record<string, string> = {}, appId = `app-${randomUUID()}`): Promise<PubSub> {
  const pubsub = driver.create({
    name: 'sensors',
    type: 'pubsub.mqtt3',
    version: 'v1',
    properties: { url: server?.address ?? '', ...properties },
    appId,
    namespace: 'default',
    log,
  })
  try {
    await pubsub.init(AbortSignal.timeout(10_000))
  } catch (error) {
    await pubsub[Symbol.asyncDispose]()
    throw error
  }
  return pubsub
}

function inbox() {
  const messages: DeliveredMessage[] = []
  const waiters = new Set<() => void>()
  return {
    messages,
    texts: () => messages.map(({ data }) => data.toString()),
    add(message: DeliveredMessage) {
      messages.push(message)
      for (const wake of waiters) wake()
    },
    async until(done: () => boolean) {
      while (!done()) await new Promise<void>((resolve) => waiters.add(resolve))
    },
  }
}

const send = (pubsub: PubSub, topic: string, text: string, metadata: Record<string, string> = {}) =>
  pubsub.publish({ topic, data: Buffer.from(text), metadata })

/** A broker of our own on a port that stays the same, so that it can be gone for a while. */
async function ownBroker(lines = 'allow_anonymous true') {
  const directory = mkdtempSync(join(tmpdir(), 'outrider-mosquitto-'))
  const port = await freePort()
  const file = join(directory, 'mosquitto.conf')
  writeFileSync(file, `listener ${port} 127.0.0.1\nlog_dest stderr\n${lines}\n`)
  const run = async (): Promise<ChildProcess> => {
    const program = findBinary('mosquitto', ['/usr/sbin']) as string
    const child = spawn(program, ['-c', file], { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] })
    await announced(child, /mosquitto version \S+ running/, 'mosquitto', directory)
    return child
  }
  let child = await run()
  return {
    url: `mqtt://127.0.0.1:${port}`,
    signal: (signal: NodeJS.Signals) => void child.kill(signal),
    kill: async () => {
      const gone = new Promise((resolve) => child.once('exit', resolve))
      child.ref()
      child.kill('SIGKILL')
      await gone
    },
    restart: async () => {
      child = await run()
    },
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGCONT')
      await end(child, 'SIGTERM', directory)
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

describe('MQTT topic filters', () => {
  for (const [filter, topic, expected] of [
    ['a/b', 'a/b', true],
    ['a/+', 'a/b', true],
    ['a/+', 'a/b/c', false],
    ['a/+', 'a', false],
    ['a/#', 'a', true],
    ['a/#', 'a/b/c', true],
    ['+/b/#', 'x/b', true],
    ['#', 'any/thing', true],
    ['#', '$SYS/x', false],
    ['$share/group/a/+', 'a/b', true],
  ] as const)
    it(`${filter} ${expected ? 'means' : 'does not mean'} ${topic}`, () => assert.equal(matches(filter, topic), expected))
})

describe('pubsub.mqtt3', { skip: server === undefined ? 'Mosquitto is not on this machine' : false }, () => {
  after(() => server?.stop())

  it('subscribes with wildcards, and a topic by its name comes first', limit, async () => {
    const root = randomUUID()
    await using pubsub = await open()
    const [some, one, all] = [inbox(), inbox(), inbox()]
    await using _one = await pubsub.subscribe(`${root}/kitchen/light`, {}, async (message) => one.add(message))
    await using _some = await pubsub.subscribe(`${root}/+/light`, {}, async (message) => some.add(message))
    await using _all = await pubsub.subscribe(`${root}/hall/#`, {}, async (message) => all.add(message))
    await send(pubsub, `${root}/kitchen/light`, 'named')
    await send(pubsub, `${root}/attic/light`, 'any')
    await send(pubsub, `${root}/hall/door/left`, 'rest')
    await one.until(() => one.messages.length === 1)
    await some.until(() => some.messages.length === 1)
    await all.until(() => all.messages.length === 1)
    assert.deepEqual([one.texts(), some.texts(), all.texts()], [['named'], ['any'], ['rest']])
    assert.equal(some.messages[0]?.topic, `${root}/attic/light`)
    await assert.rejects(send(pubsub, `${root}/+`, 'x'), /for subscriptions only/)
  })

  it('shares the messages of a $share topic among clients', limit, async () => {
    const topic = `jobs-${randomUUID()}`
    await using first = await open()
    await using second = await open()
    const [a, b] = [inbox(), inbox()]
    const wake = Promise.withResolvers<void>()
    const add = (box: typeof a) => async (message: DeliveredMessage) => {
      box.add(message)
      if (a.messages.length + b.messages.length === 40) wake.resolve()
    }
    await using _a = await first.subscribe(`$share/group/${topic}`, {}, add(a))
    await using _b = await second.subscribe(`$share/group/${topic}`, {}, add(b))
    for (let index = 0; index < 40; index++) await send(first, topic, String(index))
    await wake.promise
    assert.equal(new Set([...a.texts(), ...b.texts()]).size, 40)
    assert.ok(a.messages.length > 0 && b.messages.length > 0)
  })

  it('marks what the broker had kept as retained', limit, async () => {
    const topic = `state-${randomUUID()}`
    await using pubsub = await open()
    await send(pubsub, topic, 'kept', { retain: 'true' })
    const box = inbox()
    await using _subscription = await pubsub.subscribe(topic, {}, async (message) => box.add(message))
    await box.until(() => box.messages.length === 1)
    await send(pubsub, topic, 'fresh')
    await box.until(() => box.messages.length === 2)
    assert.deepEqual(
      box.messages.map(({ metadata }) => metadata.retained),
      ['true', 'false'],
    )
    await assert.rejects(send(pubsub, topic, 'x', { retain: 'perhaps' }), /mqtt invalid retain perhaps/)
  })

  for (const qos of ['0', '2'])
    it(`publishes and delivers with QoS ${qos}`, limit, async () => {
      const topic = `qos-${randomUUID()}`
      await using pubsub = await open({ qos })
      const box = inbox()
      await using _subscription = await pubsub.subscribe(topic, {}, async (message) => box.add(message))
      for (let index = 0; index < 50; index++) await send(pubsub, topic, String(index))
      await box.until(() => box.messages.length === 50)
      assert.equal(new Set(box.texts()).size, 50)
    })

  it('gives what a killed process held to the next one with its consumerID', limit, async () => {
    const topic = `held-${randomUUID()}`
    const properties = { url: server?.address ?? '', consumerID: `client-${randomUUID()}` }
    const child = startChild('pubsub.mqtt3', 'hold', topic, 0, properties)
    await child.until(1)
    await using publisher = await open()
    for (let index = 0; index < 5; index++) await send(publisher, topic, `m${index}`)
    await child.until(6)
    await child.kill()
    await using pubsub = await open(properties)
    const box = inbox()
    await using _subscription = await pubsub.subscribe(topic, {}, async (message) => box.add(message))
    await box.until(() => box.messages.length === 5)
    assert.deepEqual(box.texts().toSorted(), ['m0', 'm1', 'm2', 'm3', 'm4'])
  })

  it('waits a bounded time while the broker hangs or is gone, and goes on by itself', limit, async () => {
    await using broker = await ownBroker()
    await using pubsub = await open({ url: broker.url, writeTimeout: '1s' })
    const box = inbox()
    await using _subscription = await pubsub.subscribe('cut', {}, async (message) => box.add(message))
    const untilSent = async (text: string) => {
      for (;;) {
        try {
          return await send(pubsub, 'cut', text)
        } catch {
          await new Promise((resolve) => setTimeout(resolve, 50))
        }
      }
    }
    const failsSoon = async (text: string, message: RegExp) => {
      const start = Date.now()
      await assert.rejects(send(pubsub, 'cut', text), message)
      assert.ok(Date.now() - start < 3000)
    }
    await send(pubsub, 'cut', 'before')
    await box.until(() => box.texts().includes('before'))
    broker.signal('SIGSTOP')
    await failsSoon(
      'stalled',
      /sensors cannot publish to topic cut: the MQTT broker at 127\.0\.0\.1:\d+ does not answer within 1000 ms; start the broker or correct url/,
    )
    broker.signal('SIGCONT')
    await untilSent('resumed')
    await box.until(() => box.texts().includes('resumed'))
    await broker.kill()
    await failsSoon('gone', /the MQTT broker at 127\.0\.0\.1:\d+ (closed the connection|cannot be reached)/)
    await assert.rejects(async () => pubsub.ping?.(AbortSignal.timeout(1000)))
    const sending = untilSent('returned')
    await broker.restart()
    await sending
    await box.until(() => box.texts().includes('returned'))
    await pubsub.ping?.(AbortSignal.timeout(1000))
  })

  it('talks TLS, with a client certificate', limit, async () => {
    const directory = mkdtempSync(join(tmpdir(), 'outrider-mqtt-tls-'))
    const at = (name: string) => join(directory, name)
    const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '1']
    const request = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', at('key.pem'), '-out', at('cert.pem'), ...subject]
    execFileSync('openssl', request, { stdio: 'ignore' })
    // Mosquitto reads them as another user.
    chmodSync(directory, 0o755)
    chmodSync(at('key.pem'), 0o644)
    const lines = [`cafile ${at('cert.pem')}`, `certfile ${at('cert.pem')}`, `keyfile ${at('key.pem')}`, 'require_certificate true']
    try {
      await using broker = await ownBroker([...lines, 'allow_anonymous true'].join('\n'))
      const url = broker.url.replace('mqtt:', 'ssl:')
      const caCert = readFileSync(at('cert.pem'), 'utf8')
      const clientKey = readFileSync(at('key.pem'), 'utf8')
      await using pubsub = await open({ url, caCert, clientCert: caCert, clientKey })
      const box = inbox()
      await using _subscription = await pubsub.subscribe('tls', {}, async (message) => box.add(message))
      await send(pubsub, 'tls', 'secret')
      await box.until(() => box.messages.length === 1)
      await assert.rejects(open({ url }), /cannot be reached: .*not signed by an authority that is trusted.*caCert/)
    } finally {
      rmSync(directory, { recursive: true, force: true })
    }
  })

  it('names what is wrong with the settings and the broker', limit, async () => {
    await using broker = await ownBroker('allow_anonymous false')
    await assert.rejects(open({ url: broker.url.replace('//', '//ann:hidden@') }), (error: Error) => {
      assert.match(
        error.message,
        /the MQTT broker at 127\.0\.0\.1:\d+ does not let us in: it (refuses user name or password|does not let this user in)/,
      )
      assert.doesNotMatch(error.message, /hidden/)
      return true
    })
    await assert.rejects(open({ url: 'mqtt://127.0.0.1:1' }), /the MQTT broker at 127\.0\.0\.1:1 cannot be reached/)
    await assert.rejects(open({ url: 'ws://127.0.0.1:1' }), /metadata field url: ws: is not supported/)
    await assert.rejects(open({ url: 'nothing' }), /metadata field url is not a URL/)
  })
})

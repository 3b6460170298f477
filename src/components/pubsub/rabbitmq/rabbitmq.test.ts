import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { type AddressInfo, connect as connectTo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { createServer } from 'node:tls'
import { type Channel, type ChannelModel, type ConsumeMessage, connect } from 'amqplib'
import { startProxy } from '../../../../test/servers/proxy.ts'
import { rabbitmq } from '../../../../test/servers/rabbitmq.ts'
import { help, serverOf } from '../../../../test/servers/server.ts'
import type { PubSub } from '../../../blocks/pubsub/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { startChild } from '../testing/process.ts'
import { driver } from './driver.ts'

const server = await serverOf(rabbitmq)
const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const limit = { timeout: 60_000 }

async function open(properties: Record<string, string> = {}, appId = 'app'): Promise<PubSub> {
  const all = { connectionString: server?.address ?? '', deletedWhenUnused: 'false', ...properties }
  const pubsub = driver.create({ name: 'orders', type: 'pubsub.rabbitmq', version: 'v1', properties: all, appId, namespace: '', log })
  await pubsub.init(AbortSignal.timeout(10_000))
  return pubsub
}

const send = (pubsub: PubSub, topic: string, text: string, metadata: Record<string, string> = {}) =>
  pubsub.publish({ topic, data: Buffer.from(text), metadata })

/** Collects texts; `until` waits for a state of them. */
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

/** The next message of a queue, waited for. */
async function next(channel: Channel, queue: string): Promise<ConsumeMessage> {
  const { promise, resolve } = Promise.withResolvers<ConsumeMessage>()
  const { consumerTag } = await channel.consume(queue, (message) => message && resolve(message), { noAck: true })
  const message = await promise
  await channel.cancel(consumerTag)
  return message
}

describe('pubsub.rabbitmq', { skip: server === undefined ? help(rabbitmq) : false }, () => {
  const topic = () => `topic-${randomUUID()}`
  let admin: ChannelModel | undefined
  const channel = async () => {
    admin ??= await connect(server?.address as string)
    const made = await admin.createChannel()
    made.on('error', () => {})
    return made
  }
  after(async () => {
    await admin?.close()
    await server?.stop()
  })

  it("writes daprd's properties, no more", limit, async () => {
    const name = topic()
    const raw = await channel()
    await using pubsub = await open({ deliveryMode: '2', ttlInSeconds: '70' })
    await using _none = await pubsub.subscribe(`${name}-other`, {}, async () => {})
    await send(pubsub, name, 'declares the exchange')
    const { queue } = await raw.assertQueue('', { exclusive: true })
    await raw.bindQueue(queue, name, '')
    const given = (message: ConsumeMessage) =>
      Object.fromEntries(Object.entries(message.properties).filter(([, value]) => value !== undefined))
    await send(pubsub, name, 'plain', { other: 'stays here' })
    const plain = await next(raw, queue)
    assert.deepEqual(given(plain), { contentType: 'text/plain', deliveryMode: 2, expiration: '70000' })
    const metadata = { contenttype: 'a/b', messageID: 'm', CorrelationId: 'c', type: 't', priority: '300', ttl: '1m30s', routingKey: 'k' }
    await send(pubsub, name, 'full', metadata)
    const full = await next(raw, queue)
    assert.deepEqual(given(full), {
      contentType: 'a/b',
      deliveryMode: 2,
      priority: 255,
      correlationId: 'c',
      expiration: '90000',
      messageId: 'm',
      type: 't',
    })
    assert.equal(full.fields.routingKey, 'k')
  })

  it('hands on properties and headers when asked to', limit, async () => {
    const name = topic()
    const raw = await channel()
    await using pubsub = await open({ publishMessagePropertiesToMetadata: 'true' })
    const got = Promise.withResolvers<Readonly<Record<string, string>>>()
    await using _subscription = await pubsub.subscribe(name, {}, async (message) => got.resolve(message.metadata))
    raw.publish(name, '', Buffer.from('x'), {
      messageId: 'm',
      correlationId: 'c',
      type: 't',
      contentType: 'ct',
      headers: { one: 1, two: 'b' },
    })
    assert.deepEqual(await got.promise, {
      'metadata.one': '1',
      'metadata.two': 'b',
      'metadata.messageid': 'm',
      'metadata.correlationid': 'c',
      'metadata.type': 't',
      'metadata.contenttype': 'ct',
    })
  })

  it('binds with every routing key of the subscription', limit, async () => {
    const name = topic()
    await using pubsub = await open({ exchangeKind: 'topic' })
    const inbox = collector()
    await using _subscription = await pubsub.subscribe(name, { routingKey: 'a.*,b', queueName: `${name}-own` }, async ({ data }) =>
      inbox.add(data.toString()),
    )
    for (const routingKey of ['a.1', 'c', 'b']) await send(pubsub, name, routingKey, { routingKey })
    await inbox.until(() => inbox.texts.length === 2)
    assert.deepEqual(inbox.texts.sort(), ['a.1', 'b'])
    assert.equal((await (await channel()).checkQueue(`${name}-own`)).consumerCount, 1)
  })

  it('gives messages of a higher priority first', limit, async () => {
    const name = topic()
    await using pubsub = await open({ concurrencyMode: 'single', prefetchCount: '1' })
    const metadata = { maxPriority: '10' }
    await (await pubsub.subscribe(name, metadata, async () => {}))[Symbol.asyncDispose]()
    for (const priority of ['1', '9', '5']) await send(pubsub, name, priority, { priority })
    const inbox = collector()
    await using _subscription = await pubsub.subscribe(name, metadata, async ({ data }) => inbox.add(data.toString()))
    await inbox.until(() => inbox.texts.length === 3)
    assert.deepEqual(inbox.texts, ['9', '5', '1'])
  })

  it('does not deliver what has expired', limit, async () => {
    const name = topic()
    const raw = await channel()
    await using pubsub = await open({ concurrencyMode: 'single', enableDeadLetter: 'true' })
    await (await pubsub.subscribe(name, {}, async () => {}))[Symbol.asyncDispose]()
    await send(pubsub, name, 'short', { ttlInSeconds: '1' })
    await send(pubsub, name, 'long', { ttl: '1h' })
    // The dead letter queue gets it when it expires: the event to wait for.
    assert.equal((await next(raw, `dlq-app-${name}`)).content.toString(), 'short')
    const inbox = collector()
    await using _subscription = await pubsub.subscribe(name, {}, async ({ data }) => inbox.add(data.toString()))
    await inbox.until(() => inbox.texts.length === 1)
    assert.deepEqual(inbox.texts, ['long'])
  })

  it('dead-letters a message that was not handled', limit, async () => {
    const name = topic()
    const raw = await channel()
    await using pubsub = await open({ enableDeadLetter: 'true' })
    await using _subscription = await pubsub.subscribe(name, {}, async () => {
      throw new Error('bad')
    })
    await send(pubsub, name, 'poison')
    const dead = await next(raw, `dlq-app-${name}`)
    assert.equal(dead.content.toString(), 'poison')
    assert.equal(dead.properties.headers?.['x-first-death-reason'], 'rejected')
  })

  it('lets a failed message go where requeueInFailure is false, as daprd', limit, async () => {
    const name = topic()
    await using pubsub = await open({ requeueInFailure: 'false', concurrencyMode: 'single' })
    const inbox = collector()
    await using _subscription = await pubsub.subscribe(name, {}, async ({ data }) => {
      inbox.add(data.toString())
      if (data.toString() === 'poison') throw new Error('bad')
    })
    for (const text of ['poison', 'good', 'last']) await send(pubsub, name, text)
    await inbox.until(() => inbox.texts.includes('last'))
    assert.deepEqual(inbox.texts, ['poison', 'good', 'last'])
    assert.equal((await (await channel()).checkQueue(`app-${name}`)).messageCount, 0)
  })

  it('waits longer before each further try of a failed message', limit, async () => {
    const name = topic()
    await using pubsub = await open()
    const times: number[] = []
    const enough = Promise.withResolvers<void>()
    await using _subscription = await pubsub.subscribe(name, {}, async () => {
      times.push(Date.now())
      if (times.length < 4) throw new Error('not yet')
      enough.resolve()
    })
    await send(pubsub, name, 'again')
    await enough.promise
    const [first, second, third] = times.slice(1).map((time, index) => time - (times[index] as number)) as [number, number, number]
    assert.ok(first >= 95 && second >= 195 && third >= 395, `${first}, ${second}, ${third}`)
  })

  it('works with quorum queues, and hands back what an ended consumer had', limit, async () => {
    const name = topic()
    await using first = await open({ drainTimeout: '10ms', prefetchCount: '5' })
    await using second = await open()
    const began = Promise.withResolvers<void>()
    const metadata = { queueType: 'quorum' }
    const held = await first.subscribe(name, metadata, (_, signal) => {
      began.resolve()
      return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
    })
    for (let index = 0; index < 10; index++) await send(first, name, `m${index}`)
    await began.promise
    const inbox = collector()
    await using _second = await second.subscribe(name, metadata, async ({ data }) => inbox.add(data.toString()))
    await inbox.until(() => inbox.texts.length === 5)
    const before = performance.now()
    await held[Symbol.asyncDispose]()
    await inbox.until(() => new Set(inbox.texts).size === 10)
    assert.ok(performance.now() - before < 1000)
    await assert.rejects(
      second.subscribe(name, { queueType: 'stream' }, async () => {}),
      /invalid queue type stream/,
    )
  })

  it('gives the messages of a killed member to another one within a second', limit, async () => {
    const name = topic()
    const properties = { connectionString: server?.address ?? '', deletedWhenUnused: 'false', consumerID: 'group', prefetchCount: '10' }
    const child = startChild('pubsub.rabbitmq', 'hold', name, 0, properties)
    await child.until(1)
    await using pubsub = await open(properties)
    for (let index = 0; index < 10; index++) await send(pubsub, name, `m${index}`)
    await child.until(11)
    const inbox = collector()
    await using _subscription = await pubsub.subscribe(name, {}, async ({ data }) => inbox.add(data.toString()))
    const before = performance.now()
    await child.kill()
    await inbox.until(() => new Set(inbox.texts).size === 10)
    assert.ok(performance.now() - before < 1000)
  })

  it('loses nothing acknowledged when its process is killed while publishing', limit, async () => {
    const name = topic()
    await using pubsub = await open({ consumerID: 'group' })
    const inbox = collector()
    await using _subscription = await pubsub.subscribe(name, {}, async ({ data }) => inbox.add(data.toString()))
    const child = startChild('pubsub.rabbitmq', 'publish', name, 1_000_000, {
      connectionString: server?.address ?? '',
      deletedWhenUnused: 'false',
    })
    await child.until(200)
    await child.kill()
    const acknowledged = child.lines.slice(1)
    await inbox.until(() => acknowledged.every((text) => inbox.texts.includes(text)))
  })

  it('survives lost connections: nothing acknowledged is lost, and it is back within a second', limit, async () => {
    const name = topic()
    const { hostname, port } = new URL(server?.address as string)
    await using proxy = await startProxy(hostname, Number(port))
    const connectionString = `amqp://guest:guest@127.0.0.1:${proxy.port}`
    await using pubsub = await open({ connectionString })
    const inbox = collector()
    await using _subscription = await pubsub.subscribe(name, {}, async ({ data }) => inbox.add(data.toString()))
    const acknowledged: string[] = []
    let ending = false
    const publishing = (async () => {
      for (let index = 0; !ending; index++) {
        await send(pubsub, name, `m${index}`)
        acknowledged.push(`m${index}`)
      }
    })()
    for (const cut of [1, 2, 3]) {
      await inbox.until(() => inbox.texts.length > cut * 50)
      proxy.cut()
      await new Promise((resolve) => setImmediate(resolve))
      proxy.heal()
      const healed = performance.now()
      const seen = inbox.texts.length
      await inbox.until(() => inbox.texts.length > seen + 10)
      assert.ok(performance.now() - healed < 1000, `back after ${performance.now() - healed} ms`)
    }
    ending = true
    await publishing
    await inbox.until(() => acknowledged.every((text) => inbox.texts.includes(text)))
  })

  it('fails a publish that waited long enough, naming component, server and what to do', limit, async () => {
    const { hostname, port } = new URL(server?.address as string)
    await using proxy = await startProxy(hostname, Number(port))
    const connectionString = `amqp://guest:guest@127.0.0.1:${proxy.port}`
    await using pubsub = await open({ connectionString, publishTimeout: '300ms' })
    await send(pubsub, 'waits', 'fine')
    proxy.stall()
    await assert.rejects(send(pubsub, 'waits', 'stalled'), {
      message: new RegExp(
        `^pub/sub component orders: RabbitMQ at 127.0.0.1:${proxy.port} has not confirmed the message within 300 ms; .*try again`,
      ),
    })
    await assert.rejects(async () => pubsub.ping?.(AbortSignal.timeout(5000)), /has not answered/)
    proxy.cut()
    await assert.rejects(send(pubsub, 'waits', 'cut'), {
      message: new RegExp(
        `^pub/sub component orders: RabbitMQ at 127.0.0.1:${proxy.port} is not connected .*; gave up after 300 ms, try again`,
      ),
    })
    await assert.rejects(async () => pubsub.ping?.(AbortSignal.timeout(5000)), /is not connected/)
    proxy.heal()
    await send(pubsub, 'waits', 'healed').catch(() => send(pubsub, 'waits', 'healed'))
    await pubsub.ping?.(AbortSignal.timeout(5000))
  })

  it('bounds what waits for a server that hangs', limit, async () => {
    const { hostname, port } = new URL(server?.address as string)
    await using proxy = await startProxy(hostname, Number(port))
    await using pubsub = await open({ connectionString: `amqp://guest:guest@127.0.0.1:${proxy.port}`, publishTimeout: '500ms' })
    await send(pubsub, 'bounded', 'fine')
    proxy.stall()
    const data = Buffer.alloc(2 ** 20)
    const results = await Promise.allSettled(Array.from({ length: 200 }, () => pubsub.publish({ topic: 'bounded', data, metadata: {} })))
    const reasons = results.map((result) => (result.status === 'rejected' ? String(result.reason) : ''))
    assert.ok(reasons.every((reason) => reason !== ''))
    assert.ok(reasons.filter((reason) => /wait for RabbitMQ .* already; publish more slowly/.test(reason)).length >= 130)
  })

  it('notices a silent connection by its heartbeat', limit, async () => {
    const { hostname, port } = new URL(server?.address as string)
    await using proxy = await startProxy(hostname, Number(port))
    await using pubsub = await open({
      connectionString: `amqp://guest:guest@127.0.0.1:${proxy.port}`,
      heartBeat: '1s',
      publishTimeout: '10s',
    })
    await send(pubsub, 'silent', 'fine')
    proxy.stall()
    const waiting = send(pubsub, 'silent', 'waits for the next connection')
    const lost = async () => assert.rejects(async () => pubsub.ping?.(AbortSignal.timeout(200)), /is not connected/)
    while (true)
      try {
        await lost()
        break
      } catch {}
    proxy.heal()
    await waiting
  })

  it('makes an exchange again that had deleted itself, and a queue that was deleted', limit, async () => {
    const name = topic()
    const raw = await channel()
    await using pubsub = await open({ deletedWhenUnused: 'true' })
    const inbox = collector()
    const first = await pubsub.subscribe(name, {}, async () => {})
    await send(pubsub, name, 'before')
    await first[Symbol.asyncDispose]()
    await assert.rejects((await channel()).checkExchange(name), /NOT_FOUND/)
    await send(pubsub, name, 'to nobody')
    await using _subscription = await pubsub.subscribe(name, {}, async ({ data }) => inbox.add(data.toString()))
    await send(pubsub, name, 'one')
    await inbox.until(() => inbox.texts.includes('one'))
    await raw.deleteQueue(`app-${name}`)
    // The subscriber makes both anew; until then messages go to nobody.
    while (!inbox.texts.includes('two')) await send(pubsub, name, 'two')
  })

  it('says what differs when the exchange exists with other settings', limit, async () => {
    const name = topic()
    await using one = await open({ exchangeKind: 'topic' })
    await using other = await open()
    await send(one, name, 'x')
    await assert.rejects(send(other, name, 'x'), /^Error: pub\/sub component orders: .*PRECONDITION_FAILED.*it exists with other settings/)
    // The refusal has not taken other messages with it.
    await send(other, `${name}-other`, 'x')
    await assert.rejects(
      other.subscribe(name, {}, async () => {}),
      /topic topic-.*it exists with other settings/,
    )
  })

  it('says who is refused when the login fails, without the password', limit, async () => {
    const address = new URL(server?.address as string)
    address.username = 'somebody'
    address.password = 'hush'
    await assert.rejects(open({ connectionString: String(address) }), (error: Error) => {
      assert.match(error.message, /refuses the login of user somebody: check username and password/)
      assert.ok(!`${error.stack}${error.cause}`.includes('hush'))
      return true
    })
    await assert.rejects(open({ connectionString: `${server?.address}/nowhere` }), /does not let user guest use vhost nowhere/)
    await assert.rejects(
      open({ connectionString: 'amqp://guest:hush@127.0.0.1:1' }),
      /cannot connect to RabbitMQ at 127.0.0.1:1: connection refused/,
    )
  })

  it('talks TLS to a server it can trust, and says why not to others', limit, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'outrider-rabbitmq-tls-'))
    const openssl = (...given: string[]) => execFileSync('openssl', given, { cwd: folder, stdio: 'ignore' })
    const request = ['req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=test']
    openssl(...request, '-x509', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', 'good.key', '-out', 'good.crt')
    openssl(...request, '-keyout', 'old.key', '-out', 'old.csr')
    openssl('x509', '-req', '-in', 'old.csr', '-signkey', 'old.key', '-days', '-1', '-out', 'old.crt')
    const read = (name: string) => readFileSync(join(folder, name), 'utf8')
    const [good, old] = [
      { key: read('good.key'), cert: read('good.crt') },
      { key: read('old.key'), cert: read('old.crt') },
    ]
    const { hostname, port } = new URL(server?.address as string)
    const serve = async (pair: { key: string; cert: string }) => {
      const terminator = createServer(pair, (near) => {
        const far = connectTo(Number(port), hostname)
        near.pipe(far).pipe(near)
        near.on('error', () => far.destroy())
        far.on('error', () => near.destroy())
      })
      terminator.on('tlsClientError', () => {})
      await new Promise<void>((resolve) => terminator.listen(0, '127.0.0.1', resolve))
      const connectionString = `amqps://guest:guest@127.0.0.1:${(terminator.address() as AddressInfo).port}`
      return { terminator, connectionString }
    }
    const one = await serve(good)
    const other = await serve(old)
    try {
      await using pubsub = await open({ connectionString: one.connectionString, caCert: good.cert })
      await send(pubsub, topic(), 'secret')
      await assert.rejects(open({ connectionString: one.connectionString }), /not signed by an authority that is trusted.*caCert/)
      await assert.rejects(
        open({ connectionString: one.connectionString, caCert: old.cert }),
        /not signed by an authority.*caCert|is for .* and not for/,
      )
      await assert.rejects(
        open({ connectionString: other.connectionString, caCert: old.cert }),
        /certificate has expired; renew it at the server/,
      )
    } finally {
      one.terminator.close()
      other.terminator.close()
      rmSync(folder, { recursive: true })
    }
  })

  it('refuses settings that cannot be', async () => {
    await assert.rejects(open({ connectionString: 'http://me:hush@host' }), (error: Error) => {
      assert.equal(
        error.message,
        'metadata field connectionString: the protocol is "http" and has to be amqp or amqps; expected amqp://user:password@host:port/vhost',
      )
      return true
    })
    await assert.rejects(open({ exchangeKind: 'round' }), /rabbitmq pub\/sub error: invalid RabbitMQ exchange kind round/)
    await assert.rejects(open({ deliveryMode: '3' }), /invalid RabbitMQ delivery mode, accepted values are between 0 and 2/)
    await assert.rejects(open({ saslExternal: 'true' }), /saslExternal can only be set to true, when all/)
    await assert.rejects(open({ concurrencyMode: 'wild' }), /invalid concurrencyMode wild/)
    await assert.rejects(open({ caCert: 'abc' }), /caCert: the given value is not PEM/)
  })

  it('lets the process end after it is closed, also when the server hangs', limit, async () => {
    const { hostname, port } = new URL(server?.address as string)
    await using proxy = await startProxy(hostname, Number(port))
    const program = `
      const { driver } = await import(${JSON.stringify(new URL('driver.ts', import.meta.url).href)})
      const log = { debug() {}, info() {}, warn() {}, error() {} }
      const pubsub = driver.create({ name: 'orders', type: 'pubsub.rabbitmq', version: 'v1', appId: 'ends', namespace: '', log,
        properties: { connectionString: 'amqp://guest:guest@127.0.0.1:${proxy.port}', publishTimeout: '200ms' } })
      await pubsub.init(AbortSignal.timeout(5000))
      await pubsub.subscribe('ends', {}, async () => {})
      await pubsub.publish({ topic: 'ends', data: Buffer.from('x'), metadata: {} })
      process.stdout.write('ready')
      await new Promise((resolve) => process.stdin.once('data', resolve))
      process.stdin.destroy()
      await pubsub[Symbol.asyncDispose]()`
    for (const hangs of [false, true]) {
      const ended = Promise.withResolvers<void>()
      const child = execFile(process.execPath, ['--input-type=module', '-e', program], { timeout: 20_000 }, (error) =>
        error ? ended.reject(error) : ended.resolve(),
      )
      await new Promise((resolve) => child.stdout?.once('data', resolve))
      if (hangs) proxy.stall()
      child.stdin?.write('end\n')
      await ended.promise
      proxy.heal()
    }
  })
})

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, describe, it } from 'node:test'
import { connect, headers } from '@nats-io/transport-node'
import { nats, startNats } from '../../../../test/servers/nats.ts'
import { startProxy } from '../../../../test/servers/proxy.ts'
import { help, serverOf } from '../../../../test/servers/server.ts'
import { bindingConformance } from '../../../blocks/bindings/conformance.ts'
import type { Binding, BindingEvent } from '../../../blocks/bindings/driver.ts'
import type { Logger } from '../../../telemetry/log.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { driver } from './driver.ts'

const server = await serverOf(nats)
const silent = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const limit = { timeout: 30_000 }

async function open(properties: Record<string, string> = {}, log: Logger = silent): Promise<Binding> {
  const all = { natsURL: server?.address ?? '', ...properties }
  const binding = driver.create({ name: 'events', type: 'bindings.nats', version: 'v1', properties: all, appId: 'app', namespace: '', log })
  await binding.init(AbortSignal.timeout(10_000))
  return binding
}

/** A client that is not the binding. */
async function peer(address = server?.address as string) {
  const connection = await connect({ servers: address.replace('nats://', '') })
  return Object.assign(connection, { [Symbol.asyncDispose]: () => connection.close() })
}

const call = (binding: Binding, operation: string, text: string, metadata: Record<string, string> = {}) =>
  (binding as Required<Binding>).invoke({ operation, data: Buffer.from(text), metadata })

function collector() {
  const events: BindingEvent[] = []
  const waiters = new Set<() => void>()
  return {
    events,
    texts: () => events.map(({ data }) => data.toString()),
    async add(event: BindingEvent) {
      events.push(event)
      for (const wake of waiters) wake()
      return undefined
    },
    async until(count: number) {
      while (events.length < count) await new Promise<void>((resolve) => waiters.add(resolve))
    },
  }
}

/** A logger whose warnings are kept. */
function listening() {
  const lines: string[] = []
  const waiters = new Set<() => void>()
  const warn = (text: string) => {
    lines.push(text)
    for (const wake of waiters) wake()
  }
  const log: Logger = Object.assign(Object.create(silent) as Logger, { warn })
  return {
    lines,
    log,
    async until(pattern: RegExp) {
      while (!lines.some((line) => pattern.test(line))) await new Promise<void>((resolve) => waiters.add(resolve))
    },
  }
}

bindingConformance('bindings.nats', { operations: ['create', 'request'], read: true }, async () => {
  if (!server) return undefined
  const binding = await open({ subject: `conformance.${randomUUID()}` })
  const { read } = binding
  // Core NATS keeps nothing: what is read is sent once somebody listens.
  binding.read = async (handler) => {
    const reader = await (read as Required<Binding>['read'])(handler)
    for (const text of ['first', 'second']) await call(binding, 'create', text)
    return reader
  }
  return binding
})

describe('bindings.nats', { skip: server === undefined ? help(nats) : false }, () => {
  after(() => server?.stop())

  it('publishes with headers and a reply subject, as other clients see it', limit, async () => {
    const subject = `out.${randomUUID()}`
    await using other = await peer()
    const messages = other.subscribe(`${subject}.*`)
    await other.flush()
    await using binding = await open({ subject: `${subject}.own` })
    await call(binding, 'create', '{"id":1}', { 'X-Order': 'Zürich', reply: 'back.to.me' })
    await call(binding, 'create', 'other', { subject: `${subject}.given` })
    const seen = []
    for await (const message of messages) {
      seen.push([message.subject.slice(subject.length), message.string(), message.reply ?? '', message.headers?.get('X-Order') ?? ''])
      if (seen.length === 2) break
    }
    assert.deepEqual(seen, [
      ['.own', '{"id":1}', 'back.to.me', 'Zürich'],
      ['.given', 'other', '', ''],
    ])
  })

  it("gives the app subject, reply and headers, and sends the app's answer back", limit, async () => {
    const subject = `in.${randomUUID()}`
    await using binding = await open({ subject: `${subject}.a.*, ${subject}.b` })
    const box = collector()
    await using _reader = await binding.read?.(async (event) => {
      await box.add(event)
      if (event.data.toString() === 'bad') throw new Error('the app is ill')
      return Buffer.from(`seen ${event.data}`)
    })
    await using other = await peer()
    const given = headers()
    given.append('Kind', 'one')
    given.append('Kind', 'two')
    assert.equal((await other.request(`${subject}.a.x`, 'hello', { timeout: 5000, headers: given })).string(), 'seen hello')
    other.publish(`${subject}.b`, 'plain')
    await box.until(2)
    const [first, second] = box.events
    assert.match(first?.metadata.reply ?? '', /^_INBOX\./)
    assert.deepEqual({ ...first?.metadata, reply: '' }, { subject: `${subject}.a.x`, reply: '', Kind: 'one,two' })
    assert.deepEqual(second?.metadata, { subject: `${subject}.b` })
    // What the app does not take gets no answer, and the next message does.
    await assert.rejects(other.request(`${subject}.b`, 'bad', { timeout: 200 }), /timeout/)
    assert.equal((await other.request(`${subject}.b`, 'good', { timeout: 5000 })).string(), 'seen good')
  })

  it('asks and gives the reply with its headers; from one sidecar to the other, too', limit, async () => {
    const subject = `ask.${randomUUID()}`
    await using binding = await open({ subject, timeout: '100ms' })
    await using other = await peer()
    await assert.rejects(async () => call(binding, 'request', 'x'), {
      message: new RegExp(
        `^binding events: nobody reads ${subject} at NATS at 127.0.0.1:\\d+: start what answers it, or correct the subject$`,
      ),
    })
    other.subscribe(subject, {
      callback(_error, message) {
        const answer = headers()
        answer.set('Kind', message.headers?.get('Kind') ?? '')
        if (message.string() !== 'silence') message.respond(`re: ${message.string()}`, { headers: answer })
      },
    })
    await other.flush()
    const answer = await call(binding, 'request', 'question', { Kind: 'short', timeout: '5s' })
    assert.deepEqual([answer?.data?.toString(), answer?.metadata], ['re: question', { Kind: 'short' }])
    await assert.rejects(
      async () => call(binding, 'request', 'silence'),
      /nobody has answered the request to ask\..* within 100 ms; .*longer timeout/,
    )
    await assert.rejects(async () => call(binding, 'request', 'x', { timeout: 'soon' }), /metadata.timeout: "soon" is not a duration/)

    await using far = await open({ subject: `${subject}.far` })
    await using _reader = await far.read?.(async ({ data }) => Buffer.from(data.toString().toUpperCase()))
    assert.equal((await call(binding, 'request', 'loud', { subject: `${subject}.far`, timeout: '5s' }))?.data?.toString(), 'LOUD')
  })

  it('shares the messages among a queue group, and leaves answers to others with respond false', limit, async () => {
    const subject = `group.${randomUUID()}`
    await using one = await open({ subject, queueGroup: 'g', respond: 'false' })
    await using two = await open({ subject, queueGroup: 'g', respond: 'false' })
    const [boxOne, boxTwo, all] = [collector(), collector(), collector()]
    await using _one = await one.read?.((event) => all.add(event).then(() => boxOne.add(event)))
    await using _two = await two.read?.((event) => all.add(event).then(() => boxTwo.add(event)))
    await using other = await peer()
    for (let index = 0; index < 100; index++) other.publish(subject, String(index))
    await all.until(100)
    await assert.rejects(other.request(subject, 'x', { timeout: 200 }), /timeout/)
    assert.equal(boxOne.events.length + boxTwo.events.length, 101)
    assert.ok(boxOne.events.length > 0 && boxTwo.events.length > 0)
  })

  it('keeps the order with concurrency 1, bounds what waits, and warns of what it drops', limit, async () => {
    const subject = `slow.${randomUUID()}`
    const warnings = listening()
    const gate = Promise.withResolvers<void>()
    const box = collector()
    {
      await using binding = await open({ subject, concurrency: '1', pendingLimit: '3' }, warnings.log)
      await using _reader = await binding.read?.(async (event) => {
        await box.add(event)
        await gate.promise
        return undefined
      })
      await using other = await peer()
      for (let index = 0; index < 10; index++) other.publish(subject, String(index))
      await warnings.until(/a message was dropped: 3 wait for the app already; .*pendingLimit/)
      // Its own connection has seen them all when the server has answered it.
      await other.flush()
      await binding.ping?.(AbortSignal.timeout(5000))
      gate.resolve()
      await box.until(4)
    }
    assert.deepEqual(box.texts(), ['0', '1', '2', '3'])
    assert.ok(
      warnings.lines.some((line) => /slow\..*: 5 more messages were dropped since/.test(line)),
      warnings.lines.join('\n'),
    )
  })

  it('hands what it was given to the app before it ends', limit, async () => {
    const subject = `end.${randomUUID()}`
    await using binding = await open({ subject, concurrency: '1' })
    const box = collector()
    const gate = Promise.withResolvers<void>()
    const reader = await binding.read?.(async (event) => {
      await gate.promise
      return box.add(event)
    })
    await using other = await peer()
    for (const text of ['1', '2', '3']) other.publish(subject, text)
    await other.flush()
    await binding.ping?.(AbortSignal.timeout(5000))
    const ended = reader?.[Symbol.asyncDispose]()
    gate.resolve()
    await ended
    assert.deepEqual(box.texts(), ['1', '2', '3'])
    await call(binding, 'create', 'late')
    assert.equal(box.events.length, 3)
  })

  it('fails within its limit while the server is away or hangs, and says what to do', limit, async () => {
    const { hostname, port } = new URL(server?.address as string)
    await using proxy = await startProxy(hostname, Number(port))
    const address = `127.0.0.1:${proxy.port}`
    const subject = `away.${randomUUID()}`
    await using binding = await open({ natsURL: `nats://${address}`, subject, publishTimeout: '300ms', timeout: '300ms' })
    await call(binding, 'create', 'fine')
    proxy.stall()
    await assert.rejects(async () => call(binding, 'create', 'stalled'), {
      message: `binding events: NATS at ${address} has not taken the message for ${subject} within 300 ms; it may have arrived nevertheless, try again when the server answers`,
    })
    // What a server that hangs was given is bounded also when nobody waits for it any more.
    const data = Buffer.alloc(2 ** 19)
    const create = () => binding.invoke?.({ operation: 'create', data, metadata: {} })
    const results = await Promise.allSettled(Array.from({ length: 300 }, create))
    const full = results.filter((result) => result.status === 'rejected' && /already; send more slowly/.test(String(result.reason)))
    assert.ok(full.length >= 150, String(full.length))
    await assert.rejects(async () => create(), /already; send more slowly/)
    proxy.cut()
    for (const operation of ['create', 'request']) {
      let message = ''
      // Until the connection is seen to be gone, and what it held with it.
      do message = await call(binding, operation, 'cut').then(String, (error: Error) => error.message)
      while (/was lost|already;|has not taken/.test(message))
      assert.match(message, /^binding events: NATS at .* is not connected.*; gave up after 300 ms, try again when the server is back$/)
    }
    await assert.rejects(async () => binding.ping?.(AbortSignal.timeout(5000)), /is not connected/)
    proxy.heal()
    for (let healed = false; !healed; )
      healed = await call(binding, 'create', 'healed').then(
        () => true,
        () => false,
      )
  })

  it('waits for a server that restarts, and reads and answers again', limit, async () => {
    let own = await startNats()
    try {
      const port = Number(new URL(own.address).port)
      await using binding = await open({ natsURL: own.address, subject: 'again.>', publishTimeout: '20s', timeout: '20s' })
      const box = collector()
      await using _reader = await binding.read?.(async (event) => {
        await box.add(event)
        return Buffer.from('answer')
      })
      await call(binding, 'create', 'before', { subject: 'again.a' })
      await box.until(1)
      await own.stop()
      await assert.rejects(async () => {
        for (;;) await binding.ping?.(AbortSignal.timeout(5000))
      })
      const waiting = call(binding, 'create', 'meanwhile', { subject: 'again.b' })
      own = await startNats('', port)
      await waiting
      await box.until(2)
      assert.deepEqual(box.texts(), ['before', 'meanwhile'])
      await using other = await peer(own.address)
      assert.equal((await other.request('again.c', 'x', { timeout: 5000 })).string(), 'answer')
    } finally {
      await own.stop()
    }
  })

  it('says who is refused what: the login, a subject to publish to, one to read', limit, async () => {
    const permissions = '{ publish: ["open.>", "_INBOX.>"], subscribe: ["open.>", "_INBOX.>"] }'
    const own = await startNats(`authorization { users: [{ user: me, password: right, permissions: ${permissions} }] }`)
    try {
      const { host } = new URL(own.address)
      await assert.rejects(open({ natsURL: `nats://me:hush@${host}` }), (error: Error) => {
        assert.equal(error.message, `NATS at ${host} refuses the login: check token, jwt and seedKey, or the user in natsURL`)
        assert.ok(!`${error.stack}${error.cause}`.includes('hush'))
        return true
      })
      const natsURL = `nats://me:right@${host}`
      await using binding = await open({ natsURL, subject: 'closed' })
      const refused = {
        message: `binding events: NATS at ${host} does not let this login publish to closed: allow it in the permissions of the user, or log in as another`,
      }
      const fine = call(binding, 'create', 'x', { subject: 'open.a' })
      await assert.rejects(async () => call(binding, 'create', 'x'), refused)
      await assert.rejects(async () => call(binding, 'request', 'x'), refused)
      await fine
      await assert.rejects(
        async () => binding.read?.(async () => undefined),
        /does not let this login read closed .*allow it in the permissions/,
      )
      await assert.rejects(open({ natsURL: 'nats://127.0.0.1:1' }), /cannot connect to NATS at 127.0.0.1:1: connection refused/)
    } finally {
      await own.stop()
    }
  })

  it('reads again when a login may again what it might not for a while', limit, async () => {
    const allowing = (subject: string) =>
      `authorization { users: [{ user: me, password: right, permissions: { publish: [">"], subscribe: ["${subject}", "_INBOX.>"] } }] }`
    const own = await startNats(allowing('news'))
    try {
      const warnings = listening()
      const natsURL = own.address.replace('nats://', 'nats://me:right@')
      await using binding = await open({ natsURL, subject: 'news' }, warnings.log)
      const box = collector()
      await using _reader = await binding.read?.((event) => box.add(event))
      await own.reload(allowing('olds'))
      await warnings.until(/does not let this login read news .*allow it in the permissions .*asked again in 1000 ms/)
      await own.reload(allowing('news'))
      // Nobody is told that a subscription is there again; what is published before is lost.
      for (const end = Date.now() + 10_000; box.events.length === 0 && Date.now() < end; ) await call(binding, 'create', 'fresh')
      assert.equal(box.texts()[0], 'fresh')
    } finally {
      await own.stop()
    }
  })

  it('refuses what cannot be, by name', limit, async () => {
    for (const [properties, text] of [
      [{ natsURL: '' }, /natsURL/],
      [{ jwt: 'a' }, /missing seed key/],
      [{ subject: 'a b' }, /metadata field subject: "a b" has white space/],
      [{ subject: 'a..b' }, /has an empty part/],
      [{ subject: 'a.>.b' }, /goes on after >/],
      [{ concurrency: '0' }, /concurrency/],
      [{ queueGroup: 'a b' }, /metadata field queueGroup: "a b" has white space/],
    ] as const)
      await assert.rejects(open(properties), text)
    await using binding = await open({ subject: 'a.*' })
    await assert.rejects(async () => call(binding, 'create', 'x'), /no subject: set metadata.subject in the request/)
    for (const [metadata, text] of [
      [{ subject: 'a.>' }, /metadata.subject: "a.>" has a wildcard/],
      [{ subject: 'a\r\nPUB b 1' }, /metadata.subject: .* has white space/],
      [{ subject: 'a', reply: 'b c' }, /metadata.reply: "b c" has white space/],
      [{ subject: 'a', 'x:y': '1' }, /metadata "x:y" cannot be a header/],
      [{ subject: 'a', X: '1\r\nY: 2' }, /metadata X cannot be a header .* line end in its value/],
    ] as const)
      await assert.rejects(async () => call(binding, 'create', 'x', { ...metadata }), text)
    const big = Buffer.alloc(2 ** 21)
    for (const operation of ['create', 'request'])
      await assert.rejects(async () => binding.invoke?.({ operation, data: big, metadata: { subject: 'a' } }), /max_payload/)
    await using output = await open()
    assert.equal(output.read, undefined)
  })
})

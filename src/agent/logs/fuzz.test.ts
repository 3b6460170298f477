import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { Random } from '../../../test/random.ts'
import { encodeChunk, eventsOf, HEAD, readHead } from './buffer/chunk.ts'
import { LogEvent } from './event.ts'
import { readMessage } from './fluent/message.ts'
import { Packer } from './fluent/pack.ts'
import { ValueStream } from './fluent/stream.ts'
import { MsgpackError, plain, Unpacker } from './fluent/unpack.ts'
import { parseFluentd } from './fluentd/parse.ts'
import { translate } from './fluentd/read.ts'
import { FluentdError } from './fluentd/section.ts'
import { parseLogfmt, parseLtsv } from './formats/pairs.ts'
import { parseSyslog } from './formats/syslog.ts'
import { timeParser } from './formats/time.ts'
import { eventsOfBody, NotEvents } from './sources/http-events.ts'
import { syslogFrames } from './sources/syslog.ts'
import { parseCri, parseDocker } from './sources/tail/container.ts'
import { splitLines } from './sources/tail/lines.ts'
import { tagMatcher } from './tags.ts'

// Random input against everything here that reads what strangers wrote. OUTRIDER_FUZZ_SEED=<number> repeats a run,
// OUTRIDER_FUZZ_SECONDS=<number> makes each property search longer.

const SEED = Number(process.env.OUTRIDER_FUZZ_SEED ?? randomInt(2 ** 32))
const MILLISECONDS = Number(process.env.OUTRIDER_FUZZ_SECONDS ?? 0.3) * 1000
/** No input of these sizes takes longer, even on a machine that does other things too. */
const PATIENCE = 2000

async function property(t: TestContext, once: (random: Random) => void | Promise<void>): Promise<void> {
  const end = performance.now() + MILLISECONDS
  let rounds = 0
  for (; rounds === 0 || performance.now() < end; rounds++) {
    const seed = (SEED + rounds) >>> 0
    const started = performance.now()
    try {
      await once(new Random(seed))
    } catch (error) {
      throw new Error(`OUTRIDER_FUZZ_SEED=${seed} repeats this in its first round`, { cause: error })
    }
    assert.ok(performance.now() - started < PATIENCE, `OUTRIDER_FUZZ_SEED=${seed} takes too long`)
  }
  t.diagnostic(`seed ${SEED}, ${rounds} rounds`)
}

/** Any value of JSON. */
function value(random: Random, depth = 0): unknown {
  switch (random.int(depth > 3 ? 5 : 7)) {
    case 0:
      return null
    case 1:
      return random.int(2) === 1
    case 2:
      return random.int(2) ? random.int(2 ** 32) * (random.int(2) ? 1 : 2 ** 20) : -random.int(2 ** 31)
    case 3:
      return random.int(1000) / 7
    case 4:
      return random.text().toWellFormed()
    case 5:
      return Array.from({ length: random.int(6) }, () => value(random, depth + 1))
    default:
      return Object.fromEntries(
        Array.from({ length: random.int(6) }, (_, index) => [
          `${index}${random.text().slice(0, 20).toWellFormed()}`,
          value(random, depth + 1),
        ]),
      )
  }
}

test('msgpack: what is written is read, whole and in pieces; what is damaged is refused or read, never more', (t) =>
  property(t, async (random) => {
    const given = [value(random), value(random)]
    const bytes = Buffer.concat(given.map((each) => new Packer().value(each).take()))
    const unpacker = new Unpacker(bytes)
    for (const each of given) assert.deepEqual(plain(unpacker.next()), each)
    const stream = new ValueStream(1 << 20)
    const found = random.split(bytes).flatMap((piece) => stream.push(piece).map((whole) => Buffer.from(whole)))
    assert.deepEqual(Buffer.concat(found), bytes)
    assert.equal(found.length, 2)
    const bad = random.mutate(bytes)
    try {
      const damaged = new ValueStream(1 << 16)
      for (const piece of random.split(bad)) for (const whole of damaged.push(piece)) new Unpacker(whole).next()
    } catch (error) {
      assert.ok(error instanceof MsgpackError, String(error))
    }
  }))

test('messages of the forward protocol', (t) =>
  property(t, async (random) => {
    const packer = new Packer().array(3).text('tag').array(2)
    for (let each = 0; each < 2; each++)
      packer
        .array(2)
        .eventTime(1.7e12)
        .value({ a: value(random) })
    const bytes = packer.value({ chunk: 'c' }).take()
    assert.equal((await readMessage(bytes, 1 << 20)).events.length, 2)
    try {
      for (const event of (await readMessage(random.mutate(bytes), 1 << 20)).events) JSON.parse(event.json)
    } catch (error) {
      assert.ok(error instanceof MsgpackError, String(error))
    }
  }))

const LINES = [
  '<34>1 2003-10-11T22:14:15.003Z host su 77 ID47 [ex@1 a="b\\"c" d="e"][f g="h"] message',
  '<13>Oct  9 22:33:20 host app[9]: a line',
  'a=1 b="two \\"words\\"" c d=é',
  'a:1\tb:2',
  '2026-11-21T10:00:00.123456789Z stdout P text',
  '{"log":"text\\n","stream":"stdout","time":"2026-11-21T10:00:00Z"}',
  '14/Nov/2023:23:13:20 +0100',
]

test('lines of every format', (t) => {
  const times = [undefined, 'unixtime', '%d/%b/%Y:%H:%M:%S %z', '%Y-%m-%dT%H:%M:%S.%N%z'].map((format) => timeParser(format))
  return property(t, (random) => {
    const line = random.int(4) === 0 ? random.text() : random.mutate(Buffer.from(LINES[random.int(LINES.length)] as string)).toString()
    for (const parse of [parseSyslog, parseLogfmt, parseLtsv, parseCri, parseDocker]) JSON.stringify(parse(line) ?? null)
    for (const time of times) {
      const at = time(line)
      assert.ok(at === undefined || Number.isFinite(at))
    }
  })
})

test('lines of a file come out whole, whatever pieces they are read in', (t) =>
  property(t, (random) => {
    const lines = Array.from({ length: random.int(20) }, () =>
      random
        .text()
        .toWellFormed()
        .replaceAll(/[\r\n]/g, ''),
    )
    const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(''))
    const got: string[] = []
    let at = 0
    let open = ''
    for (let size = 0; at < bytes.length; ) {
      size = Math.min(bytes.length - at, Math.max(size + 1 + random.int(300), 1))
      const used = splitLines(bytes.subarray(at, at + size), 100, (text, _start, _end, partial) => {
        open += text
        if (partial) return
        got.push(open)
        open = ''
      })
      if (used > 0) size = 0
      at += used
    }
    assert.deepEqual(got, lines)
  }))

test('bodies that are posted', (t) =>
  property(t, (random) => {
    const body = random.mutate(Buffer.from(JSON.stringify([value(random), { a: 1 }])))
    const types = ['application/json', 'text/plain', 'application/msgpack', 'application/x-ndjson', 'application/x-www-form-urlencoded', '']
    try {
      for (const event of eventsOfBody(body, types[random.int(types.length)] as string, 'tag', 0)) JSON.parse(event.json)
    } catch (error) {
      assert.ok(error instanceof NotEvents, String(error))
    }
  }))

test('frames of syslog', (t) =>
  property(t, (random) => {
    const bytes = random.mutate(Buffer.from('10 <13>1 - - 5 <13>a<13>line\n<13>two\n7 <13>end'))
    try {
      const { used } = syslogFrames(bytes)
      assert.ok(used <= bytes.length)
    } catch (error) {
      assert.match(String(error), /a message/)
    }
  }))

const CONFIG = `<source>
  @type tail
  path /var/log/*.log
  tag app.*
  <parse>
    @type regexp
    expression /^(?<a>[^ ]*) (?<b>.*)$/
    types a:integer
  </parse>
</source>
<filter app.**>
  @type record_transformer
  <record>
    x "#{ENV['X']} \${record["a"]}"
  </record>
</filter>
<match **>
  @type elasticsearch
  hosts ["a:1", "b:2"]
  <buffer tag, time>
    flush_interval 5s
  </buffer>
</match>
`

test("Fluentd's configuration", (t) =>
  property(t, (random) => {
    try {
      translate(parseFluentd(random.mutate(Buffer.from(CONFIG)).toString(), { file: 'f', env: {} }), random.int(2) === 0, () => undefined)
    } catch (error) {
      assert.ok(error instanceof FluentdError || /^f:\d+: /.test((error as Error).message), String((error as Error).stack))
    }
  }))

test('patterns of tags', (t) =>
  property(t, (random) => {
    const parts = ['a', 'b.c', '*', '**', '{', '}', ',', '.', ' ', '(', '\\', '[']
    const pattern = Array.from({ length: random.int(10) }, () => parts[random.int(parts.length)]).join('')
    assert.equal(typeof tagMatcher(pattern)('a.b.c'), 'boolean')
  }))

test('the buffer gives what it was given', (t) =>
  property(t, (random) => {
    const events = Array.from({ length: random.int(5) }, () => new LogEvent(random.int(2 ** 31) * 1000.5, 'a.b', { v: value(random) }))
    const bytes = encodeChunk(events, random.int(2) ? { p: random.int(100) } : undefined)
    const head = readHead(bytes, 0)
    assert.ok(head)
    const out: LogEvent[] = []
    eventsOf(head, bytes.subarray(HEAD), '1-0', () => true, out)
    assert.deepEqual(
      out.map(({ time, tag, json }) => [time, tag, json]),
      events.map(({ time, tag, json }) => [time, tag, json]),
    )
  }))

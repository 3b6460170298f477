import assert from 'node:assert/strict'
import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { openPipeline, scratch, startServer, until } from '../../harness.ts'
import type { TailSpec } from '../../spec.ts'

/** Messages that come out of a tail; `folder` keeps its positions. */
async function tailing(t: TestContext, folder: string, spec: Partial<TailSpec> = {}) {
  const out = join(folder, 'out')
  mkdirSync(out, { recursive: true })
  const file = join(out, `${process.hrtime.bigint()}.jsonl`)
  const opened = await openPipeline(t, folder, {
    sources: [{ name: 'files', tag: 'app', tail: { paths: [join(folder, 'app.log')], poll: '20ms', rotateWait: '100ms', ...spec } }],
    outputs: [{ name: 'out', file: { path: file }, batch: { flushInterval: '5ms' } }],
  })
  const events = () => {
    try {
      return readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Record<string, unknown>)
    } catch {
      return []
    }
  }
  const messages = () => events().map(({ message }) => message)
  const come = (...wanted: unknown[]) =>
    until(
      () => messages().length >= wanted.length,
      () => `${JSON.stringify(messages())} in place of ${JSON.stringify(wanted)}`,
    ).then(() => assert.deepEqual(messages(), wanted))
  return { ...opened, events, messages, come }
}

test('a file that is renamed is read to its end, and the one in its place from its start', async (t) => {
  const folder = scratch(t)
  const log = join(folder, 'app.log')
  writeFileSync(log, 'one\n')
  const { come, status } = await tailing(t, folder)
  await come('one')
  appendFileSync(log, 'two\n')
  renameSync(log, `${log}.1`)
  // The writer has it open still.
  appendFileSync(`${log}.1`, 'three\n')
  writeFileSync(log, 'four\n')
  await until(() => status().outputs.out?.delivered === 4)
  appendFileSync(log, 'five\n')
  await come('one', 'two', 'three', 'four', 'five')
  await until(() => status().sources.files?.files === 1)
})

test('a file that is cut is read from its start, also when it is longer again at once', async (t) => {
  const folder = scratch(t)
  const log = join(folder, 'app.log')
  writeFileSync(log, 'one is here\ntwo\n')
  const { come } = await tailing(t, folder)
  await come('one is here', 'two')
  truncateSync(log)
  appendFileSync(log, 'three\n')
  await come('one is here', 'two', 'three')
  copyFileSync(log, `${log}.copy`)
  writeFileSync(log, 'four is longer than what was\nfive\n')
  await come('one is here', 'two', 'three', 'four is longer than what was', 'five')
})

test('another process goes on where the first one stopped, with what was rotated away meanwhile', async (t) => {
  const folder = scratch(t)
  const log = join(folder, 'app.log')
  writeFileSync(log, 'one\n')
  const first = await tailing(t, folder)
  await first.come('one')
  await first.close()
  appendFileSync(log, 'two\n')
  renameSync(log, `${log}.2`)
  // Came and went while nobody looked.
  writeFileSync(`${log}.1`, 'three\n')
  writeFileSync(log, 'four\n')
  const second = await tailing(t, folder)
  await until(() => second.messages().length === 3)
  assert.deepEqual([...second.messages()].sort(), ['four', 'three', 'two'])
  await until(() => second.status().sources.files?.files === 1)
  await second.close()
  const third = await tailing(t, folder)
  appendFileSync(log, 'five\n')
  await third.come('five')
})

test('a new file that has the number of an old one is another file', async (t) => {
  const folder = scratch(t)
  const log = join(folder, 'app.log')
  writeFileSync(log, 'the old one\n')
  const first = await tailing(t, folder)
  await first.come('the old one')
  await first.close()
  const { ino } = statSync(log)
  // File systems hand out the number that was free last, sooner or later.
  unlinkSync(log)
  writeFileSync(log, 'the new one, longer\n')
  if (statSync(log).ino !== ino) t.diagnostic('this file system gave another number; the test shows less here')
  const second = await tailing(t, folder)
  await second.come('the new one, longer')
})

test('a file that is written over in place while nobody looks is another file too', async (t) => {
  const folder = scratch(t)
  const log = join(folder, 'app.log')
  writeFileSync(log, 'the old one\n')
  const first = await tailing(t, folder)
  await first.come('the old one')
  await first.close()
  const { ino } = statSync(log)
  writeFileSync(log, 'the new one, longer\n')
  assert.equal(statSync(log).ino, ino)
  const second = await tailing(t, folder)
  await second.come('the new one, longer')
})

test('a line counts when its end is there; the last one of a file that is gone counts without', async (t) => {
  const folder = scratch(t)
  const log = join(folder, 'app.log')
  writeFileSync(log, 'one\ntw')
  const { come, messages } = await tailing(t, folder)
  await come('one')
  appendFileSync(log, 'o\r\nthree')
  await come('one', 'two')
  unlinkSync(log)
  await until(() => messages().length === 3)
  assert.equal(messages()[2], 'three')
})

test('lines that belong together are one event, and are read again when the process ends between them', async (t) => {
  const folder = scratch(t)
  const log = join(folder, 'app.log')
  writeFileSync(log, '2026 first\n  at a\n  at b\n2026 second\n  at c\n')
  const spec = { multiline: { start: '^\\d{4} ', timeout: '10s' } }
  const first = await tailing(t, folder, spec)
  await first.come('2026 first\n  at a\n  at b')
  await first.close()
  appendFileSync(log, '  at d\n2026 third\n')
  const second = await tailing(t, folder, { multiline: { start: '^\\d{4} ', timeout: '50ms' } })
  await second.come('2026 second\n  at c\n  at d', '2026 third')
})

test('CRI and Docker lines: time, stream, and parts that the runtime cut are one again', async (t) => {
  const folder = scratch(t)
  writeFileSync(
    join(folder, 'app.log'),
    '2026-11-21T10:00:00.123456789Z stdout P be\n2026-11-21T10:00:00.2Z stderr F other\n2026-11-21T10:00:00.3Z stdout F gin\nno such line\n',
  )
  const cri = await tailing(t, folder, { format: 'cri' })
  await cri.come('other', 'begin', 'no such line')
  assert.equal(cri.events()[1]?.stream, 'stdout')
  assert.equal(cri.events()[0]?.time, '2026-11-21T10:00:00.200Z')
  await cri.close()
  const other = scratch(t)
  writeFileSync(
    join(other, 'app.log'),
    '{"log":"be","stream":"stdout","time":"2026-11-21T10:00:00.1Z"}\n{"log":"gin\\n","stream":"stdout","time":"2026-11-21T10:00:00.2Z"}\n',
  )
  const docker = await tailing(t, other, { format: 'docker' })
  await docker.come('begin')
})

test('JSON, logfmt and regular expressions, with types and the time of the event', async (t) => {
  const cases: [Partial<TailSpec>, string, Record<string, unknown>][] = [
    [{ format: 'json', timeField: 'ts' }, '{"ts":1700000000.5,"a":[1]}', { ts: 1700000000.5, a: [1] }],
    [
      { format: 'logfmt', timeField: 'ts', types: { n: 'integer' }, keepTime: false },
      'ts=2023-11-14T22:13:20.5Z n=5 msg="two words"',
      { n: 5, msg: 'two words' },
    ],
    [
      {
        format: 'regex',
        pattern: '^(?<host>\\S+) \\[(?<at>[^\\]]+)\\] (?<code>\\d+)$',
        timeField: 'at',
        timeFormat: '%d/%b/%Y:%H:%M:%S.%L %z',
        types: { code: 'integer' },
        keepTime: false,
      },
      'h [14/Nov/2023:23:13:20.5 +0100] 200',
      { host: 'h', code: 200 },
    ],
  ]
  for (const [spec, line, expected] of cases) {
    const folder = scratch(t)
    writeFileSync(join(folder, 'app.log'), `${line}\n`)
    const { events } = await tailing(t, folder, spec)
    await until(() => events().length === 1)
    assert.deepEqual(events()[0], { time: '2023-11-14T22:13:20.500Z', tag: 'app', ...expected })
  }
})

test('from the end, patterns, folders below, and what is not wanted', async (t) => {
  const folder = scratch(t)
  mkdirSync(join(folder, 'a', 'b'), { recursive: true })
  writeFileSync(join(folder, 'a', 'x.log'), 'old\n')
  writeFileSync(join(folder, 'a', 'x.skip.log'), 'no\n')
  const { messages } = await tailing(t, folder, {
    paths: [join(folder, 'a', '**', '*.log')],
    exclude: [join(folder, '**', '*.skip.log')],
    from: 'end',
    pathKey: 'file',
  })
  appendFileSync(join(folder, 'a', 'x.log'), 'new\n')
  writeFileSync(join(folder, 'a', 'b', 'y.log'), 'whole\n')
  await until(() => messages().length === 2)
  assert.deepEqual([...messages()].sort(), ['new', 'whole'])
})

test('a line that is too long is cut between characters', async (t) => {
  const folder = scratch(t)
  writeFileSync(join(folder, 'app.log'), `${'ü'.repeat(1000)}\nshort\n`)
  const { events } = await tailing(t, folder, { maxLine: '1Ki' })
  await until(() => events().length === 3)
  const [first, second, third] = events()
  assert.deepEqual([first?.message, first?.partial], ['ü'.repeat(512), true])
  assert.deepEqual([second?.message, second?.partial, third?.message], ['ü'.repeat(488), undefined, 'short'])
})

test("a position file of Fluentd's is gone on from", async (t) => {
  const folder = scratch(t)
  const log = join(folder, 'app.log')
  writeFileSync(log, 'one\ntwo\n')
  const hex = (number: number) => number.toString(16).padStart(16, '0')
  writeFileSync(join(folder, 'fluentd.pos'), `${log}\t${hex(4)}\t${hex(statSync(log).ino)}\n`)
  const { come } = await tailing(t, folder, { positions: join(folder, 'fluentd.pos') })
  await come('two')
})

test('at the bound of the buffer files wait, rotated ones too, and nothing is lost', async (t) => {
  const folder = scratch(t)
  const log = join(folder, 'app.log')
  let down = true
  const got: number[] = []
  const server = await startServer(t, ({ body }, response) => {
    if (!down) for (const line of body.trim().split('\n')) got.push(Number(JSON.parse(line).message.split(' ')[0]))
    response.writeHead(down ? 503 : 200).end()
  })
  const { status } = await openPipeline(t, folder, {
    sources: [{ name: 'files', tail: { paths: [log], poll: '10ms' } }],
    buffer: { maxBytes: '128Ki', segmentBytes: '32Ki' },
    outputs: [{ http: { url: server.url }, retry: { initial: '10ms', max: '20ms' }, batch: { flushInterval: '5ms', maxBytes: '16Ki' } }],
  })
  let number = 0
  for (let file = 0; file < 10; file++) {
    const lines = Array.from({ length: 200 }, () => `${number++} ${'x'.repeat(200)}\n`)
    writeFileSync(log, lines.join(''))
    await until(() => (status().sources.files?.files ?? 0) > file)
    renameSync(log, `${log}.${file}`)
  }
  await until(() => status().buffer.full)
  const { bytes } = status().buffer
  assert.ok(bytes < 400 * 1024, `${bytes} bytes are in a buffer of 128Ki`)
  down = false
  await until(
    () => new Set(got).size === number,
    () => `${new Set(got).size} of ${number} came`,
  )
})

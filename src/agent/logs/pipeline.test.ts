// biome-ignore-all lint/suspicious/noTemplateCurlyInString: such names are filled in for each event.
import assert from 'node:assert/strict'
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { openPipeline, scratch, startServer, until } from './harness.ts'

const jsonLines = (path: string) => {
  try {
    return readFileSync(path, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
  } catch {
    return []
  }
}

test('lines of a file come out of it, filtered, with tag and time', async (t) => {
  const folder = scratch(t)
  writeFileSync(join(folder, 'app.log'), '{"level":"info","user":"a@b.org","n":1}\n{"level":"debug","n":2}\nplain\n')
  const out = join(folder, 'out.jsonl')
  const { pipeline } = await openPipeline(t, folder, {
    sources: [{ tag: 'app.main', tail: { paths: [join(folder, '*.log')], format: 'json' } }],
    filters: [
      { grep: { exclude: [{ field: 'level', pattern: '^debug$' }] } },
      { match: 'app.**', add: { fields: { service: 'shop', from: '${tag_parts[1]}', copy: '${field.n}' } } },
      { redact: { kinds: ['email'] } },
    ],
    outputs: [{ file: { path: out }, batch: { flushInterval: '10ms' } }],
  })
  await until(() => jsonLines(out).length === 2)
  appendFileSync(join(folder, 'app.log'), '{"level":"warn","n":3}\n')
  await until(() => jsonLines(out).length === 3)
  const [first, second, third] = jsonLines(out)
  assert.deepEqual(
    { ...first, time: '' },
    { time: '', tag: 'app.main', level: 'info', user: '[redacted]', n: 1, service: 'shop', from: 'main', copy: 1 },
  )
  assert.equal(second?.message, 'plain')
  assert.equal(third?.n, 3)
  const metrics = pipeline.metrics()
  assert.match(metrics, /outrider_logs_received_total\{pipeline="test",source="tail-1"\} 4/)
  assert.match(metrics, /outrider_logs_filtered_total\{pipeline="test",source="tail-1"\} 1/)
  assert.match(metrics, /outrider_logs_unparsed_total\{pipeline="test",source="tail-1"\} 1/)
})

test('each output gets what it matches, and one that is down keeps no other from it', async (t) => {
  const folder = scratch(t)
  writeFileSync(join(folder, 'app.log'), 'one\n')
  writeFileSync(join(folder, 'web.log'), 'two\n')
  let down = true
  const server = await startServer(t, (_, response) => void response.writeHead(down ? 503 : 200).end())
  const out = join(folder, 'out.log')
  const { reports, status } = await openPipeline(t, folder, {
    sources: [
      { tag: 'app', tail: { paths: [join(folder, 'app.log')] } },
      { tag: 'web.front', tail: { paths: [join(folder, 'web.log')] } },
    ],
    outputs: [
      { name: 'away', http: { url: server.url }, retry: { initial: '20ms', max: '40ms' }, batch: { flushInterval: '10ms' } },
      { match: 'web.*', file: { path: out, format: 'message' }, batch: { flushInterval: '10ms' } },
    ],
  })
  await until(() => jsonOrText(out) === 'two\n')
  await until(() => server.requests.length >= 2)
  assert.match(reports.at(-1) ?? '', /^retrying: output away: .*503/)
  down = false
  await until(() => status().outputs.away?.delivered === 2)
  assert.equal(reports.at(-1), 'up')
  const bodies = server.requests
    .at(-1)
    ?.body.trim()
    .split('\n')
    .map((line) => JSON.parse(line).message)
    .sort()
  assert.deepEqual(bodies, ['one', 'two'])
})

const jsonOrText = (path: string) => {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

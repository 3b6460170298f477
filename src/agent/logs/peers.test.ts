import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { opensearch } from '../../../test/servers/opensearch.ts'
import { rsyslog as rsyslogKind, startRsyslog } from '../../../test/servers/rsyslog.ts'
import { ownServer, serverOf } from '../../../test/servers/server.ts'
import { peer, peersMissing, startPeer } from '../testing/peer.ts'
import { openPipeline, scratch, startServer, until } from './harness.ts'
import type { OutputSpec, SourceSpec } from './spec.ts'

// Programs that none of us wrote, as they are: on both sides of every protocol that logs come and go by.

const batch = { flushInterval: '5ms' }
const KEY = 'what they share'

/** A pipeline into a file, and its events. */
async function toFile(t: TestContext, sources: SourceSpec[]) {
  const folder = scratch(t)
  const path = join(folder, 'out.jsonl')
  const opened = await openPipeline(t, folder, { sources, outputs: [{ file: { path }, batch }] })
  const events = () => linesOf(path).map((line) => JSON.parse(line) as Record<string, unknown>)
  return { ...opened, events, port: (name: string) => opened.status().sources[name]?.port as number }
}

function linesOf(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n').filter(Boolean)
  } catch {
    return []
  }
}

/** A pipeline that takes posts, and what to post to it. */
async function fromPosts(t: TestContext, outputs: OutputSpec[]) {
  const opened = await openPipeline(t, scratch(t), { sources: [{ name: 'in', tag: 'app', http: { port: 0 } }], outputs })
  const post = (events: unknown) =>
    fetch(`http://127.0.0.1:${opened.status().sources.in?.port}/`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(events),
    })
  return { ...opened, post }
}

test('rsyslog and logger send both standards over UDP and TCP, in both frames', async (t) => {
  const probe = await ownServer(rsyslogKind)
  if (!probe) return t.skip('rsyslogd is not on this machine')
  await probe.stop()
  const syslog = { port: 0, protocol: 'both' } as const
  const names = ['udp3164', 'udp5424', 'tcp3164', 'counted5424', 'logger']
  const to = await toFile(
    t,
    names.map((name) => ({ name, tag: name, syslog })),
  )
  const forward = (name: string, more: string) => `action(type="omfwd" target="127.0.0.1" port="${to.port(name)}" ${more})`
  const from = await startRsyslog(
    [
      forward('udp3164', 'protocol="udp" template="RSYSLOG_TraditionalForwardFormat"'),
      forward('udp5424', 'protocol="udp" template="RSYSLOG_SyslogProtocol23Format"'),
      forward('tcp3164', 'protocol="tcp" template="RSYSLOG_TraditionalForwardFormat"'),
      forward('counted5424', 'protocol="tcp" TCP_Framing="octet-counted" template="RSYSLOG_SyslogProtocol23Format"'),
    ].join('\n'),
  )
  t.after(() => from.stop())
  const logger = (port: number, ...args: string[]) =>
    promisify(execFile)('logger', ['-n', '127.0.0.1', '-P', String(port), '-p', 'local3.warning', '-t', 'shop', ...args])
  for (let n = 0; n < 10; n++) await logger(from.port, '--tcp', '--rfc5424', '--id=77', '--msgid', 'ORDER', `order ${n} für Ann`)
  const direct: string[][] = [
    ['--udp', '--rfc3164'],
    ['--udp', '--rfc5424', '--sd-id', 'order@1', '--sd-param', 'id="7"'],
    ['--tcp', '--rfc3164'],
    ['--tcp', '--octet-count', '--rfc5424'],
  ]
  for (const args of direct) await logger(to.port('logger'), ...args, `sent by ${args.join(' ')}`)
  const of = (tag: string) => to.events().filter((event) => event.tag === tag)
  await until(
    () => names.every((name) => of(name).length === (name === 'logger' ? 4 : 10)),
    () => names.map((name) => `${name}: ${of(name).length}`).join(', '),
  )
  for (const name of names.slice(0, 4)) {
    const [first] = of(name).sort((one, other) => String(one.message).localeCompare(String(other.message)))
    const { facility, severity, ident, pid, message, msgid } = first as Record<string, unknown>
    const wanted = { facility: 'local3', severity: 'warning', ident: 'shop', pid: '77', message: 'order 0 für Ann' }
    assert.deepEqual({ facility, severity, ident, pid, message }, wanted, name)
    assert.equal(msgid, name.endsWith('5424') ? 'ORDER' : undefined)
  }
  assert.deepEqual(
    of('logger')
      .map(({ message }) => message)
      .sort(),
    direct.map((args) => `sent by ${args.join(' ')}`).sort(),
  )
  const structured = of('logger').find(({ message }) => String(message).includes('--sd-id'))?.structured as Record<string, unknown>
  assert.deepEqual(structured['order@1'], { id: '7' })
})

test('rsyslog takes what is sent to it', async (t) => {
  const probe = await ownServer(rsyslogKind)
  if (!probe) return t.skip('rsyslogd is not on this machine')
  await probe.stop()
  const kept = join(scratch(t), 'kept')
  const template = '%syslogfacility-text%.%syslogseverity-text% %app-name% %hostname% %msg%\\n'
  const to = await startRsyslog(
    `action(type="omfile" file="${kept}" template="kept")`,
    `template(name="kept" type="string" string="${template}")`,
  )
  t.after(() => to.stop())
  const from = await fromPosts(
    t,
    (['tcp', 'udp'] as const).map((protocol) => ({ name: protocol, syslog: { server: to.address, protocol, appName: protocol }, batch })),
  )
  await from.post([
    { level: 'error', message: 'one' },
    { level: 'info', message: 'zwölf' },
  ])
  await until(
    () => linesOf(kept).length === 4,
    () => linesOf(kept).join('\n'),
  )
  const wanted = ['tcp', 'udp'].flatMap((name) => [`local0.err ${name} ${hostname()} one`, `local0.info ${name} ${hostname()} zwölf`])
  assert.deepEqual(linesOf(kept).sort(), wanted.sort())
})

test("clients of npm and PyPI send by Fluentd's protocol in all modes; OpenSearch has it all, read by its own client", {
  skip: peersMissing(),
}, async (t) => {
  const server = await serverOf(opensearch)
  if (!server) return t.skip('OpenSearch is not on this machine')
  t.after(() => server.stop())
  const index = `logs-${randomBytes(6).toString('hex')}`
  const opened = await openPipeline(t, scratch(t), {
    sources: [
      { name: 'open', forward: { port: 0 } },
      { name: 'keyed', forward: { port: 0, sharedKey: { value: KEY } } },
    ],
    outputs: [{ name: 'search', elasticsearch: { urls: [server.address], index, tagField: 'tag', gzip: true }, batch }],
  })
  const port = (name: string) => opened.status().sources[name]?.port as number
  await Promise.all([peer('forward_clients.mjs', [port('open'), port('keyed'), KEY]), peer('forward_client.py', [port('open')])])
  const counts: Record<string, number> = {
    'old.message': 20,
    'old.packed': 20,
    'old.compressed': 20,
    'old.keyed': 1,
    'official.Message': 20,
    'official.Forward': 20,
    'official.PackedForward': 20,
    'official.CompressedPackedForward': 20,
    'official.keyed': 1,
    'python.plain': 20,
    'python.thread': 20,
  }
  const all = Object.values(counts).reduce((sum, count) => sum + count)
  await until(
    () => opened.status().outputs.search?.delivered === all,
    () => `${JSON.stringify(opened.status())}\n${opened.said.join('\n')}`,
  )
  const found = JSON.parse(await peer('read_index.mjs', [server.address, index])) as Record<string, { count: number; first: object }>
  assert.deepEqual(Object.fromEntries(Object.entries(found).map(([tag, { count }]) => [tag, count])), counts)
  assert.deepEqual(
    { ...found['official.Forward']?.first, '@timestamp': 0, n: 0 },
    { '@timestamp': 0, tag: 'official.Forward', n: 0, nested: { list: ['a', null, 'ü'] } },
  )
  assert.deepEqual(
    { ...found['python.plain']?.first, '@timestamp': 0, n: 0 },
    { '@timestamp': 0, tag: 'python.plain', n: 0, big: 2 ** 40, part: 1.5 },
  )
})

test('OpenSearch refuses what does not fit its mapping: the rest is there, the refused is put aside with its reason', async (t) => {
  const server = await serverOf(opensearch)
  if (!server) return t.skip('OpenSearch is not on this machine')
  t.after(() => server.stop())
  const index = `logs-${randomBytes(6).toString('hex')}`
  const json = async (path: string, init?: RequestInit) =>
    (await fetch(`${server.address}/${path}`, init)).json() as Promise<{ count: number }>
  const mappings = { properties: { n: { type: 'long' } } }
  await json(index, { method: 'PUT', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ mappings }) })
  const from = await fromPosts(t, [{ name: 'search', elasticsearch: { urls: [server.address], index }, batch }])
  await from.post([{ n: 1 }, { n: 'no number' }, { n: 3 }])
  await until(
    () => from.status().outputs.search?.delivered === 2 && from.status().deadLetters === 1,
    () => `${JSON.stringify(from.status())}\n${from.said.join('\n')}`,
  )
  await fetch(`${server.address}/${index}/_refresh`, { method: 'POST' })
  assert.equal((await json(`${index}/_count`)).count, 2)
})

test('the server of @fluent-org/logger takes what is forwarded, with and without a key, plain and compressed', {
  skip: peersMissing(),
}, async (t) => {
  const lines: string[] = []
  const server = startPeer('forward_server.mjs', [KEY], (line) => void lines.push(line))
  t.after(() => server.kill())
  await until(() => lines.length === 1)
  const [open, keyed] = JSON.parse(lines[0] as string) as [number, number]
  const from = await fromPosts(t, [
    { name: 'plain', forward: { servers: [`127.0.0.1:${open}`] }, batch },
    { name: 'gzip', forward: { servers: [`127.0.0.1:${open}`], gzip: true }, batch },
    { name: 'keyed', forward: { servers: [`127.0.0.1:${keyed}`], sharedKey: { value: KEY } }, batch },
  ])
  await from.post(Array.from({ length: 20 }, (_, n) => ({ n, text: 'grüße' })))
  await until(
    () => lines.length === 61,
    () => `${lines.length} of 61\n${from.said.join('\n')}`,
  )
  const [tag, , record] = JSON.parse(lines.at(-1) as string) as [string, number, object]
  assert.deepEqual([tag, { ...record, n: 0 }], ['app', { n: 0, text: 'grüße' }])
  await until(() => ['plain', 'gzip', 'keyed'].every((name) => from.status().outputs[name]?.delivered === 20))
})

test("OpenTelemetry's own messages read what goes out by OTLP", { skip: peersMissing() }, async (t) => {
  const collector = await startServer(t)
  const from = await fromPosts(t, [{ otlp: { endpoint: collector.url, resource: { 'deployment.environment': 'test' } }, batch }])
  const trace = { trace_id: '4bf92f3577b34da6a3ce929d0e0e4736', span_id: '00f067aa0ba902b7' }
  await from.post({ level: 'error', message: 'grüße', n: 7, part: 1.5, yes: true, list: [1, 'a', null], inner: { a: 1 }, ...trace })
  await until(() => collector.requests.length === 1)
  const decoded = JSON.parse(
    await peer('decode_otlp.py', ['logs', 'protobuf'], String(collector.requests[0]?.bytes.toString('base64'))),
  ) as { resourceLogs: { resource: { attributes: unknown[] }; scopeLogs: { logRecords: Record<string, unknown>[] }[] }[] }
  const [{ resource, scopeLogs }] = decoded.resourceLogs as [(typeof decoded.resourceLogs)[0]]
  assert.deepEqual(resource.attributes, [
    { key: 'service.name', value: { stringValue: 'logs-test' } },
    { key: 'deployment.environment', value: { stringValue: 'test' } },
  ])
  const { timeUnixNano, observedTimeUnixNano, ...record } = scopeLogs[0]?.logRecords[0] ?? {}
  assert.ok(Math.abs(Number(timeUnixNano) / 1e6 - Date.now()) < 60_000 && observedTimeUnixNano !== '0')
  const { traceId, spanId, attributes, ...rest } = record as {
    traceId: string
    spanId: string
    attributes: { key: string; value: unknown }[]
  }
  assert.deepEqual(rest, { severityNumber: 'SEVERITY_NUMBER_ERROR', severityText: 'error', body: { stringValue: 'grüße' } })
  const hex = (text: string) => Buffer.from(text, 'base64').toString('hex')
  assert.deepEqual({ trace_id: hex(traceId), span_id: hex(spanId) }, trace)
  assert.deepEqual(Object.fromEntries(attributes.map(({ key, value }) => [key, value])), {
    n: { intValue: '7' },
    part: { doubleValue: 1.5 },
    yes: { boolValue: true },
    list: { arrayValue: { values: [{ intValue: '1' }, { stringValue: 'a' }, {}] } },
    inner: { kvlistValue: { values: [{ key: 'a', value: { intValue: '1' } }] } },
    trace_id: { stringValue: trace.trace_id },
    span_id: { stringValue: trace.span_id },
    'log.tag': { stringValue: 'app' },
  })
})

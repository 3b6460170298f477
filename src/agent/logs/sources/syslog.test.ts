import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { openPipeline, scratch, until } from '../harness.ts'

test('syslog, of both standards, over UDP and in both frames over TCP; sent on, it is the same', async (t) => {
  const folder = scratch(t)
  const out = join(folder, 'out.jsonl')
  const batch = { flushInterval: '5ms' }
  const to = await openPipeline(t, folder, {
    sources: [{ name: 'in', tag: 'sys', syslog: { port: 0, protocol: 'both' } }],
    outputs: [{ file: { path: out }, batch }],
  })
  const port = to.status().sources.in?.port as number
  const events = () => {
    try {
      return readFileSync(out, 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Record<string, unknown>)
    } catch {
      return []
    }
  }
  const udp = createSocket('udp4')
  t.after(() => udp.close())
  udp.send('<34>1 2003-10-11T22:14:15.003Z mymachine su 77 ID47 [ex@1 a="b\\"c"] BOMless message', port, '127.0.0.1')
  await until(() => events().length === 1)
  assert.deepEqual(events()[0], {
    time: '2003-10-11T22:14:15.003Z',
    tag: 'sys',
    facility: 'auth',
    severity: 'crit',
    host: 'mymachine',
    ident: 'su',
    pid: '77',
    msgid: 'ID47',
    structured: { 'ex@1': { a: 'b"c' } },
    message: 'BOMless message',
  })
  const tcp = connect(port, '127.0.0.1')
  const framed = '<13>Oct  9 22:33:20 host app[9]: two\nlines'
  tcp.write(`<13>Oct  9 22:33:20 host app[9]: a line\n${framed.length} ${framed}<13>no`)
  await until(() => events().length === 3)
  tcp.end(' end')
  await until(() => events().length === 4)
  assert.deepEqual(
    events()
      .slice(1)
      .map(({ message }) => message),
    ['a line', 'two\nlines', 'no end'],
  )
  for (const protocol of ['tcp', 'udp'] as const) {
    const from = await openPipeline(t, scratch(t), {
      sources: [{ name: 'in', tag: 'app', http: { port: 0 } }],
      outputs: [{ syslog: { server: `127.0.0.1:${port}`, protocol, appName: 'shop' }, batch }],
    })
    await fetch(`http://127.0.0.1:${from.status().sources.in?.port}/`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ level: 'error', message: protocol }),
    })
    await until(() => events().at(-1)?.message === protocol)
    const { severity, facility, ident } = events().at(-1) ?? {}
    assert.deepEqual({ severity, facility, ident }, { severity: 'err', facility: 'local0', ident: 'shop' })
  }
})

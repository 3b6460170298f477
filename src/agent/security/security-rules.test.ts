import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { appendFileSync, chmodSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type OpenedRole, openForTest, serveForTest } from '../testing/role-context.ts'
import type { Alert } from './alert.ts'
import { openSecurityRules } from './security-rules.ts'

const skip = process.platform === 'linux' ? false : 'the role needs /proc'
const open = (spec: object, options: Parameters<typeof openForTest>[3] = {}) =>
  openForTest(openSecurityRules, 'SecurityRules', spec, options)

function folderOf(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'outrider-security-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

const alerts = (path: string) =>
  (statSync(path, { throwIfNoEntry: false }) ? readFileSync(path, 'utf8') : '')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Alert)

const statusOf = ({ role }: OpenedRole) => (role.status?.() ?? {}) as { seen?: Record<string, number>; notThere?: string[] }
const seen = (opened: OpenedRole) => statusOf(opened).seen ?? {}

const ONE = (condition: string, output: string) =>
  JSON.stringify([{ rule: 'R', condition, output, priority: 'CRITICAL', tags: ['test'], desc: '' }])

test('a process that starts is told, with who started it, in the shape of Falco; so is its end', { skip }, async (t) => {
  const folder = folderOf(t)
  const file = join(folder, 'events.json')
  const word = `w${process.pid}`
  await using opened = await open({
    rules: ONE(
      `evt.type = execve and proc.name = sh and proc.pname = node and proc.cmdline contains ${word}`,
      'shell %proc.name of %proc.pname [%proc.aname[1]] as %user.uid in %proc.cwd: %proc.cmdline %fd.name',
    ),
    processes: { interval: '20ms' },
    outputs: { file: { path: file } },
  })
  const child = spawn('sh', ['-c', `read x; echo ${word}`], { stdio: ['pipe', 'ignore', 'ignore'], cwd: folder })
  t.after(() => child.kill('SIGKILL'))
  const [alert] = await opened.until(() => (alerts(file).length > 0 ? alerts(file) : undefined))
  assert.equal(
    alert?.output.slice(14),
    `Critical shell sh of node [node] as ${process.getuid?.()} in ${folder}/: sh -c read x; echo ${word} <NA>`,
  )
  assert.deepEqual(
    [alert?.rule, alert?.priority, alert?.source, alert?.tags, alert?.output_fields['proc.pname'], alert?.output_fields['fd.name']],
    ['R', 'Critical', 'syscall', ['test'], 'node', null],
  )
  assert.match(String(alert?.time), /^\d{4}-\d\d-\d\dT/)
  assert.equal(statSync(file).mode & 0o777, 0o600)
  child.stdin.end('\n')
  await opened.until(() => (Number(seen(opened).procexit) > 0 ? true : undefined))
})

test('files that are written, made, replaced, removed and opened up to others are told', { skip }, async (t) => {
  const folder = folderOf(t)
  const [etc, single] = [join(folder, 'etc'), join(folder, 'passwd')]
  mkdirSync(join(etc, 'deep'), { recursive: true })
  writeFileSync(join(etc, 'app.conf'), 'a')
  writeFileSync(single, 'root')
  const file = join(folder, 'events.json')
  await using opened = await open({
    rules: ONE(`fd.directory startswith ${etc} or fd.name = ${single}`, '%evt.type %fd.name %fd.filename %evt.is_open_write'),
    files: [{ path: etc, recursive: true }, { path: single }, { path: join(folder, 'late') }],
    outputs: { file: { path: file } },
  })
  assert.deepEqual(opened.role.status?.().notThere, [join(folder, 'late')])
  const said = () => alerts(file).map(({ output }) => output.slice(14).replace('Critical ', ''))
  const told = (text: string) => opened.until(() => (said().includes(text) ? true : undefined))
  appendFileSync(join(etc, 'app.conf'), 'b')
  await told(`openat ${etc}/app.conf app.conf true`)
  chmodSync(join(etc, 'app.conf'), 0o777)
  await told(`fchmodat ${etc}/app.conf app.conf false`)
  writeFileSync(join(etc, 'deep', 'new'), '')
  await told(`openat ${etc}/deep/new new true`)
  mkdirSync(join(etc, 'made'))
  await told(`openat ${etc}/made made true`)
  writeFileSync(join(etc, 'made', 'inside'), '')
  await told(`openat ${etc}/made/inside inside true`)
  rmSync(join(etc, 'app.conf'))
  await told(`unlinkat ${etc}/app.conf app.conf false`)
  writeFileSync(`${single}.new`, 'toor')
  renameSync(`${single}.new`, single)
  await told(`openat ${single} passwd true`)
  assert.ok(!said().some((one) => one.includes('passwd.new')), 'its neighbours are nobody’s business')
  mkdirSync(join(folder, 'late'))
  await opened.until(() => (Number(statusOf(opened).notThere?.length) === 0 ? true : undefined))
})

test('a port that is opened, who connects to it and who goes out are told, with the process', { skip }, async (t) => {
  await using receiver = await serveForTest(() => ({ status: 200 }))
  await using opened = await open({
    rules: ONE(`evt.type in (listen, connect, accept) and proc.pid = ${process.pid}`, '%evt.type %fd.sport %proc.name %fd.l4proto %fd.sip'),
    sockets: { interval: '20ms' },
    outputs: { http: { url: `${receiver.url}/events`, headers: { 'x-key': 'k' } }, logPipeline: { url: `${receiver.url}/log` } },
  })
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const { port } = server.address() as { port: number }
  await opened.until(() => (Number(seen(opened).listen) > 0 ? true : undefined))
  const socket = connect(port, '127.0.0.1')
  t.after(() => socket.destroy())
  const said = (url: string) =>
    receiver.requests
      .filter((request) => request.url === url)
      .flatMap(({ body }) => [JSON.parse(body) as Alert | Alert[]].flat())
      .map(({ output }) => output.slice(23))
  for (const url of ['/events', '/log'])
    for (const type of ['listen', 'connect', 'accept'])
      await opened.until(() => (said(url).includes(`${type} ${port} node tcp 127.0.0.1`) ? true : undefined))
  assert.equal(receiver.requests.find(({ url }) => url === '/events')?.headers['x-key'], 'k')
})

test('more than is allowed is counted, a receiver that is away is told and gets what waited', { skip }, async (t) => {
  const folder = folderOf(t)
  let status = 503
  await using receiver = await serveForTest(() => ({ status }))
  await using opened = await open({
    rules: ONE(`fd.directory = ${folder}`, '%fd.filename'),
    files: [{ path: folder }],
    eventsPerSecond: 1,
    outputs: { http: { url: receiver.url } },
  })
  for (let at = 0; at < 30; at++) writeFileSync(join(folder, `f${at}`), '')
  await opened.until(() => (opened.reports.at(-1)?.state === 'retrying' ? true : undefined))
  await opened.until(() => (Number(opened.role.status?.().dropped) >= 15 ? true : undefined))
  status = 200
  await opened.until(() => (opened.reports.at(-1)?.state === 'up' ? true : undefined))
  await opened.until(() =>
    new Set(receiver.requests.map(({ body }) => (JSON.parse(body) as Alert).output.slice(23))).has('f9') ? true : undefined,
  )
  assert.match(String(opened.role.metrics?.()), /outrider_security_dropped_total\{name="test",reason="rate"\} \d\d/)
})

test('without a rule that can hold it does not open', { skip }, async () => {
  await assert.rejects(open({ rules: ONE('evt.type = ptrace', 'x') }), /rule "R" \(test.yaml, spec.rules:1\): it asks for another evt.type/)
  await assert.rejects(open({ rules: ONE('evt.type = ptrace', 'x'), unsupported: 'skip' }), /no rule is left of 1/)
  await assert.rejects(open({ rulesFiles: ['/nowhere.yaml'] }), /nowhere\.yaml/)
  await assert.rejects(open({ rules: ONE('proc.pid > 0', 'x'), processes: { proc: '/nowhere' } }), /\/nowhere cannot be read/)
})

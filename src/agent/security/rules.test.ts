import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fuzz } from '../testing/fuzz.ts'
import { parseCondition } from './condition-parser.ts'
import { FIELDS, type Value } from './fields.ts'
import { SEEN } from './possible.ts'
import { parseSockets, parseStat } from './proc-files.ts'
import { RuleReader } from './rules.ts'

function reader(...texts: string[]): RuleReader {
  const made = new RuleReader()
  for (const [at, text] of texts.entries()) made.add(text, `file${at + 1}`)
  return made
}

const rule = (condition: string, more = '') =>
  `- rule: R\n  desc: d\n  condition: >\n    ${condition}\n  output: said %proc.name\n  priority: WARNING\n${more}`

const BASE = `- list: shells
  items: [sh, bash]
- list: all_shells
  items: [shells, zsh]
- macro: spawned_process
  condition: (evt.type in (execve, execveat) and evt.dir=<)
- macro: shell
  condition: proc.name in (all_shells)
`

/** Whether the rule R is met by an event of these fields. */
function met(condition: string, fields: Record<string, Value>, ...more: string[]): boolean {
  const { rules } = reader(BASE + rule(condition), ...more).rules(7, 'fail')
  return rules[0]?.test({ at: 0, fields: { 'evt.type': 'execve', 'evt.dir': '<', ...fields } }) ?? false
}

test('conditions mean what they mean in Falco', () => {
  const zsh = {
    'proc.name': 'zsh',
    'proc.aname': ['zsh', 'node', 'sshd'],
    'proc.tty': 34816,
    'proc.cmdline': 'zsh -c "curl x"',
    'user.uid': 0,
  }
  const cases: [condition: string, met: boolean][] = [
    ['spawned_process and shell', true],
    ['spawned_process and not shell', false],
    ['proc.name = zsh and proc.tty != 0', true],
    ['proc.aname[2] = sshd', true],
    ['proc.aname[5] = sshd', false],
    ['proc.aname in (sshd, cron)', true],
    ['proc.name = bash or proc.name = zsh and user.uid = 1', false],
    ['(proc.name = bash or proc.name = zsh) and user.uid = 0', true],
    ['proc.cmdline contains "curl x"', true],
    ['proc.cmdline icontains CURL', true],
    ["proc.cmdline startswith 'zsh -c'", true],
    ['proc.cmdline endswith x', false],
    ['proc.name glob z?h', true],
    ['proc.name glob [a-y]*', false],
    ['proc.cmdline regex "zsh.*curl.*"', true],
    ['proc.cmdline regex curl', false],
    ['toupper(proc.name) = ZSH', true],
    ['proc.tty >= 34816 and proc.tty < 40000', true],
    ['fd.name exists', false],
    ['proc.name exists', true],
    ['proc.pname != cron', false], // not known: no comparison holds
    ['not proc.pname = cron', true],
    ['evt.dir = < and (user.uid=0)', true],
  ]
  for (const [condition, wanted] of cases) assert.equal(met(condition, zsh), wanted, condition)
  const socket = {
    'evt.type': 'connect',
    'fd.sip': '10.1.2.3',
    'fd.ip': ['127.0.0.1', '10.1.2.3'],
    'fd.sport': 443,
    'fd.name': '/etc/ssh/sshd_config',
  }
  assert.ok(met('fd.snet in ("10.0.0.0/8", "fd00::/8")', socket))
  assert.ok(!met('fd.snet = 192.168.0.0/16', socket))
  assert.ok(met('fd.net = 10.1.0.0/16 and fd.sport in (80, 443)', socket))
  assert.ok(met('fd.name pmatch (/etc/ssh, /root)', socket))
  assert.ok(!met('fd.name pmatch (/etc/ss)', socket))
})

test('later files add to, change and switch off; exceptions except', () => {
  const sh = { 'proc.name': 'sh', 'proc.pname': 'cron' }
  assert.ok(met('shell', sh))
  assert.ok(!met('shell', { 'proc.name': 'fish' }))
  assert.ok(met('fd.snet in (own)', { 'fd.sip': '10.1.2.3' }, `- list: own\n  items: ['"10.0.0.0/8"']\n`))
  assert.ok(met('shell', { 'proc.name': 'fish' }, '- list: shells\n  append: true\n  items: [fish]\n'))
  assert.ok(!met('shell', sh, '- rule: R\n  append: true\n  condition: and not proc.pname = cron\n'))
  assert.ok(!met('shell', sh, '- rule: R\n  condition: and not proc.pname = cron\n  override: { condition: append }\n'))
  assert.ok(!met('shell', sh, '- rule: R\n  enabled: false\n'))
  assert.ok(!met('shell', sh, '- macro: shell\n  condition: proc.name = bash\n'))
  const exceptions = `- rule: R
  exceptions:
    - name: known
      fields: [proc.name, proc.pname]
      comps: [=, in]
      values:
        - [sh, [cron, make]]
  override: { exceptions: append }
`
  assert.ok(!met('shell', sh, exceptions))
  assert.ok(met('shell', { ...sh, 'proc.pname': 'nginx' }, exceptions))
})

test('what is wrong is named with file, item and rule; what is not seen here is told apart', () => {
  const fails = (text: string, pattern: RegExp) => assert.throws(() => reader(BASE + text).rules(7, 'fail'), pattern)
  fails('- rule: R\n  condition: a', /file1:\d+, item 5: output is missing/)
  fails('- {}', /file1:\d+, item 5: is neither rule, macro nor list/)
  fails(rule('proc.name ='), /rule "R" \(file1:\d+\): a value is missing at the end/)
  fails(rule('proc.name = a b'), /rule "R" \(file1:\d+\): nothing can follow here before "b"/)
  fails(rule('(proc.name = a'), /\) is missing/)
  fails(rule('nobody'), /rule "R" \(file1:\d+\): there is no macro nobody/)
  fails(`- macro: a\n  condition: b\n- macro: b\n  condition: a\n${rule('a')}`, /in a circle/)
  fails(rule('fd.snet = nowhere'), /nowhere is no network/)
  fails(rule('proc.name = a').replace('WARNING', 'LOUD'), /there is no priority LOUD/)
  fails(rule('evt.arg.flags contains x'), /the field evt.arg.flags is not seen here; leave it out, or say unsupported: skip/)
  fails(rule('evt.is_open_read = true'), /who reads a file is not seen here/)
  fails(rule('evt.type = ptrace and proc.name = x'), /asks for another evt.type than is seen here/)
  fails('- rule: R\n  append: true\n  condition: x', /there is no rule "R" before it/)
  const { rules, skipped } = reader(BASE + rule('evt.type = ptrace')).rules(7, 'skip')
  assert.deepEqual([rules.length, skipped.map(({ name }) => name)], [0, ['R']])
  const blind = '- macro: inner\n  condition: evt.arg.flags contains x\n- macro: outer\n  condition: proc.name = a and inner\n'
  const first = BASE.split('\n').length
  assert.deepEqual(reader(BASE + blind + rule('outer')).rules(7, 'skip').skipped, [
    { name: 'R', at: `file1:${first + 4}`, why: `the field evt.arg.flags is not seen here, in macro inner (file1:${first})` },
  ])
  assert.equal(reader(BASE + rule('shell')).rules(3, 'fail').rules.length, 0, 'below the least priority')
})

test('the page tells every field and every kind of event that there is', () => {
  const page = readFileSync(join(import.meta.dirname, '../../../docs/security-rules.md'), 'utf8')
  const missing = [...Object.keys(FIELDS), ...SEEN].filter((name) => !page.includes(`\`${name}\``))
  assert.deepEqual(missing, [])
})

test('addresses and processes are read as the kernel writes them', () => {
  const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1 0
   1: 0000000000000000FFFF00000100007F:0016 00000000000000000000000001000000:C001 01 0:0 0:0 0 0 0 7 1
`
  assert.deepEqual(
    parseSockets(table, 'tcp').map(({ localIp, localPort, remoteIp, remotePort, state, uid, inode }) => [
      localIp,
      localPort,
      remoteIp,
      remotePort,
      state,
      uid,
      inode,
    ]),
    [
      ['127.0.0.1', 8080, '0.0.0.0', 0, 10, 1000, 4242],
      ['127.0.0.1', 22, '::1', 49153, 1, 0, 7],
    ],
  )
  const stat = parseStat(`7 (a) (b c) S 3 7 5 34816 ${'0 '.repeat(14)}99 0`)
  assert.deepEqual(stat, { name: 'a) (b c', ppid: 3, sid: 5, tty: 34816, started: 99 })
})

test('whatever rules and tables say, they are read or refused in words', () => {
  const text = Buffer.from(
    BASE + rule('spawned_process and (shell or fd.snet in ("10.0.0.0/8")) and not proc.aname[1] pmatch (/a)', '  tags: [a]\n'),
  )
  const conditions = Buffer.from('(a and not b.c = "d" or e.f[1] in (x, y)) and g.h exists and tolower(i.j) startswith k')
  const table = Buffer.from('sl\n 0: 0100007F:1F90 00000000:0000 0A 0:0 00:0 0 1000 0 42 1\n')
  fuzz((random) => {
    try {
      const made = new RuleReader()
      made.add(random.mutate(text).toString(), 'f')
      for (const { test } of made.rules(7, 'skip').rules) assert.equal(typeof test({ at: 0, fields: { 'evt.type': 'execve' } }), 'boolean')
    } catch (error) {
      assert.ok((error as Error).message.length > 0 && !(error instanceof TypeError) && !(error instanceof RangeError), String(error))
    }
    try {
      parseCondition(random.mutate(conditions).toString())
    } catch (error) {
      assert.match((error as Error).message, / (before "|at the end)/)
    }
    for (const row of parseSockets(random.mutate(table).toString(), 'tcp')) assert.ok(row.localPort >= 0 && row.localPort < 65_536)
    parseStat(random.mutate(Buffer.from('7 (a) S 3 7 5 0 0 0 0 0')).toString())
  })
})

import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { accepts, end, findBinary, freePort, hold } from './process.ts'
import type { RunningServer, ServerKind } from './server.ts'

export interface Rsyslog extends RunningServer {
  /** TCP, framed by length or line. */
  port: number
}

const program = () => findBinary('rsyslogd', ['/usr/sbin'])

/** Starts rsyslogd with a TCP listener on a free port; `actions` (lines of its configuration) say what becomes of a message; `before` stands before them. */
export async function startRsyslog(actions: string, before = ''): Promise<Rsyslog> {
  const directory = mkdtempSync(join(tmpdir(), 'outrider-rsyslog-'))
  const port = await freePort()
  const file = join(directory, 'rsyslog.conf')
  mkdirSync(join(directory, 'work'))
  writeFileSync(
    file,
    `global(workDirectory="${join(directory, 'work')}" net.enableDNS="off" localHostname="peer")
module(load="imtcp")
module(load="imudp")
input(type="imtcp" port="${port}" address="127.0.0.1" ruleset="all")
input(type="imudp" port="${port}" address="127.0.0.1" ruleset="all")
${before}
ruleset(name="all") {
${actions}
}
`,
  )
  const child = spawn(program() as string, ['-n', '-f', file, '-i', join(directory, 'pid')], { stdio: 'ignore' })
  hold(child)
  // It says nothing when it is ready.
  for (const until = performance.now() + 20_000; !(await accepts('127.0.0.1', port)); await pause(20))
    if (child.exitCode !== null || performance.now() > until) throw new Error(`rsyslogd did not open port ${port}: ${child.exitCode}`)
  return { address: `127.0.0.1:${port}`, port, stop: () => end(child, 'SIGTERM', directory) }
}

/** rsyslog, which Debian and Red Hat come with. */
export const rsyslog: ServerKind = {
  name: 'rsyslog',
  variable: 'OUTRIDER_TEST_RSYSLOG',
  form: 'host:port',
  wants: 'rsyslog',
  available: () => program() !== undefined,
  start: () => startRsyslog('action(type="omfile" file="/dev/null")'),
}

import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import type { Readable } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'
import { setTimeout as pause } from 'node:timers/promises'

/** How a process ended; `error` when it could not be started at all. */
export interface Ending {
  code: number | null
  signal: NodeJS.Signals | null
  error?: NodeJS.ErrnoException
}

/** One child in a process group of its own. */
export interface Managed {
  readonly pid: number
  readonly child: ChildProcess
  /** Settles when the process has gone; never rejects. */
  readonly ended: Promise<Ending>
  ending(): Ending | undefined
  /** Ends the whole group: SIGTERM, `grace` milliseconds, SIGKILL. Resolves when none of it runs. */
  stop(grace: number): Promise<void>
}

export interface LaunchOptions {
  cwd?: string
  env: NodeJS.ProcessEnv
  stdio: StdioOptions
}

/** Starts a program directly (no shell) as leader of its own process group. */
export function launch(command: string, args: readonly string[], options: LaunchOptions): Managed {
  const child = spawn(command, args, { cwd: options.cwd, env: options.env, stdio: options.stdio, detached: true })
  let ending: Ending | undefined
  const ended = new Promise<Ending>((done) => {
    const end = (how: Ending) => {
      ending ??= how
      done(ending)
    }
    child.once('error', (error) => end({ code: null, signal: null, error }))
    child.once('exit', (code, signal) => end({ code, signal }))
  })
  const pid = child.pid ?? 0
  return {
    pid,
    child,
    ended,
    ending: () => ending,
    stop: async (grace) => {
      if (pid === 0) return
      await stopGroup(pid, grace)
      await ended
    },
  }
}

/** Ends a process group by its leader's id: SIGTERM, wait, SIGKILL. */
export async function stopGroup(leader: number, grace: number): Promise<void> {
  const end = Date.now() + grace
  signalTo(-leader, 'SIGTERM')
  while (groupAlive(leader) && Date.now() < end) await pause(20)
  if (groupAlive(leader)) signalTo(-leader, 'SIGKILL')
  // A killed process leaves as soon as the kernel gets to it; the bound covers one stuck in the kernel.
  const last = Date.now() + 2000
  while (groupAlive(leader) && Date.now() < last) await pause(10)
}

/** Sends a signal; a process that has gone is no error. */
export function signalTo(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(pid, signal)
    return true
  } catch {
    return false
  }
}

/** Whether anything of the group still runs. Zombies do not count: in a container nobody may reap them. */
function groupAlive(leader: number): boolean {
  if (!signalTo(-leader, 0)) return false
  if (process.platform !== 'linux') return true
  return readdirSync('/proc').some((name) => {
    if (!/^\d+$/.test(name)) return false
    const fields = statFields(Number(name))
    return fields !== undefined && Number(fields[2]) === leader && fields[0] !== 'Z' && fields[0] !== 'X'
  })
}

/** The fields of /proc/PID/stat after the program's name: state, parent, group, …; undefined without such a process. */
function statFields(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')
  } catch {
    return undefined
  }
}

/** A mark of this very process, so that a later one with the same id is not mistaken for it; empty where unknown. */
export function processStamp(pid: number): string {
  return process.platform === 'linux' ? (statFields(pid)?.[19] ?? '') : ''
}

/** Whether the process runs and, where the system tells, is still the one that was stamped. */
export function stillRuns(pid: number, stamp: string): boolean {
  if (pid <= 0) return false
  if (process.platform === 'linux') {
    const fields = statFields(pid)
    return fields !== undefined && fields[0] !== 'Z' && (stamp === '' || fields[19] === stamp)
  }
  return signalTo(pid, 0)
}

/** Lines longer than this are passed on in pieces. */
const LONGEST_LINE = 64 * 1024

/** Calls `onLine` for every line of the stream, without its break; a last line without break counts. */
export function eachLine(stream: Readable, onLine: (line: string) => void): void {
  const decoder = new StringDecoder('utf8')
  let rest = ''
  stream.on('data', (chunk: Buffer) => {
    rest += decoder.write(chunk)
    const lines = rest.split('\n')
    rest = lines.pop() as string
    for (const line of lines) onLine(line.endsWith('\r') ? line.slice(0, -1) : line)
    if (rest.length > LONGEST_LINE) {
      onLine(rest)
      rest = ''
    }
  })
  stream.once('end', () => {
    rest += decoder.end()
    if (rest !== '') onLine(rest)
    rest = ''
  })
}

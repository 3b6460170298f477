import { execFileSync, spawn } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import type { RunningServer } from '../test/servers/server.ts'

/** A server that can be stopped, killed and started again with what it has on disk. */
export class Victim {
  readonly port: number
  readonly #server: RunningServer
  #pid: number

  constructor(server: RunningServer, port: number) {
    this.#server = server
    this.port = port
    this.#pid = listener(port) as number
  }

  /** SIGSTOP to the server and its children: connections stay open and nobody answers. */
  pause(): void {
    signal(tree(this.#pid), 'SIGSTOP')
  }

  resume(): void {
    signal(tree(this.#pid), 'SIGCONT')
  }

  /**
   * SIGKILL; gives what starts the same program again, which resolves as soon as its port takes connections.
   * `change` may alter the arguments.
   */
  async kill(): Promise<(change?: (args: string[]) => string[]) => Promise<void>> {
    const { exe, args, env, cwd, uid, gid } = describe(this.#pid)
    const pids = tree(this.#pid)
    signal(pids, 'SIGKILL')
    await until(() => pids.every(isGone))
    return async (change = (same) => same) => {
      const [argv0, ...rest] = args
      const child = spawn(exe, change(rest), { argv0: argv0 as string, env, cwd, uid, gid, stdio: 'ignore', detached: true })
      child.unref()
      this.#pid = child.pid as number
      const limit = performance.now() + 60_000
      // Asked of the system: a connection to a free port may meet itself.
      while (listener(this.port) === undefined) {
        if (child.exitCode !== null || performance.now() > limit) throw new Error(`${exe} does not come back: ${args.join(' ')}`)
        await pause(25)
      }
    }
  }

  async stop(): Promise<void> {
    this.resume()
    signal(tree(this.#pid), 'SIGKILL')
    await this.#server.stop()
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

export async function until(done: () => boolean, limit = Number.POSITIVE_INFINITY): Promise<boolean> {
  for (const end = performance.now() + limit; !done(); await pause(10)) if (performance.now() > end) return false
  return true
}

/** The oldest process that listens on a port of this machine. */
function listener(port: number): number | undefined {
  const pids = [
    ...execFileSync('ss', ['-ltnpH', `sport = :${port}`])
      .toString()
      .matchAll(/pid=(\d+)/g),
  ].map((match) => Number(match[1]))
  return pids.length > 0 ? Math.min(...pids) : undefined
}

function tree(pid: number): number[] {
  try {
    const threads = readdirSync(`/proc/${pid}/task`)
    const children = threads.flatMap((thread) =>
      readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
    )
    return [pid, ...children.flatMap(tree)]
  } catch {
    return [pid]
  }
}

function signal(pids: readonly number[], name: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, name)
    } catch {}
  }
}

function isGone(pid: number): boolean {
  try {
    return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return true
  }
}

function describe(pid: number) {
  const words = (file: string) => readFileSync(`/proc/${pid}/${file}`, 'utf8').split('\0').slice(0, -1)
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const id = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1])
  const env = Object.fromEntries(words('environ').map((word) => [word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)]))
  return {
    exe: readlinkSync(`/proc/${pid}/exe`),
    args: words('cmdline'),
    env,
    cwd: readlinkSync(`/proc/${pid}/cwd`),
    uid: id('Uid'),
    gid: id('Gid'),
  }
}

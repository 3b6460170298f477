import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { freePort } from '../test/servers/process.ts'
import type { Load, LoadResult } from './load.ts'

/** Clock ticks a second in /proc/<pid>/stat; 100 on every Linux that Node supports. */
const TICKS = 100

/** User and system CPU seconds of a process so far; Linux only. */
export function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) / TICKS
}

/** CPU seconds that the whole machine has worked so far, all cores together; Linux only. */
export function machineSeconds(): number {
  const [, user, nice, system, , , interrupts, soft] = (readFileSync('/proc/stat', 'utf8').split('\n')[0] ?? '').split(/ +/).map(Number)
  return [user, nice, system, interrupts, soft].reduce<number>((sum, ticks) => sum + (ticks ?? 0), 0) / TICKS
}

/** The process and all that it and its children started. */
export function familyOf(pid: number): number[] {
  const children = new Map<number, number[]>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    try {
      const parent = Number(readFileSync(`/proc/${name}/stat`, 'utf8').split(') ')[1]?.split(' ')[1])
      children.set(parent, [...(children.get(parent) ?? []), Number(name)])
    } catch {
      // It ended meanwhile.
    }
  }
  const family = [pid]
  for (const member of family) family.push(...(children.get(member) ?? []))
  return family
}

/** Resident memory of a process now, MiB: all of it, and what no file backs. */
export function memoryOf(pid: number): { rss: number; anonymous: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const mebibytes = (field: string) => Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1]) / 1024
  return { rss: mebibytes('VmRSS'), anonymous: mebibytes('RssAnon') }
}

export { freePort }

/** Resolves when something listens on the port; rejects after ten seconds. */
export async function untilListening(port: number): Promise<void> {
  const deadline = performance.now() + 10_000
  for (;;) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1')
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
      socket.once('connect', () => socket.destroy())
    })
    if (open) return
    if (performance.now() > deadline) throw new Error(`nothing listens on port ${port}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** Ends a process and waits until it is gone. */
export async function end(child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill(signal)
  const late = setTimeout(() => child.kill('SIGKILL'), 10_000)
  await gone
  clearTimeout(late)
}

/** A Redis without persistence on a free port; undefined when redis-server is not on PATH. */
export async function startRedis(): Promise<{ child: ChildProcess; port: number } | undefined> {
  const port = await freePort()
  const child = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'], {
    stdio: 'ignore',
  })
  const started = await new Promise<boolean>((resolve) => {
    child.once('spawn', () => resolve(true))
    child.once('error', () => resolve(false))
  })
  if (!started) return undefined
  await untilListening(port)
  return { child, port }
}

/** The app that the sidecars call. */
export async function startApp(wire: 'http' | 'grpc' = 'http'): Promise<{ child: ChildProcess; port: number }> {
  const child = spawn(process.execPath, [join(import.meta.dirname, wire === 'http' ? 'app.ts' : 'grpc-app.ts')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  return { child, port: Number(line.toString()) }
}

/** A load generator in its own process. */
export class LoadGenerator {
  readonly #child = fork(join(import.meta.dirname, 'load.ts'))

  get pid(): number {
    return this.#child.pid as number
  }

  async run(load: Load): Promise<LoadResult> {
    const answer = once(this.#child, 'message')
    this.#child.send(load)
    const [message] = (await answer) as [{ result: LoadResult } | { error: string }]
    if ('error' in message) throw new Error(`load generator: ${message.error}`)
    return message.result
  }

  stop(): void {
    this.#child.disconnect()
  }
}

export interface Thread {
  title: string
  /** Times it gave its core up by itself: each is a wait, so each but the last was a wake-up. */
  switches: number
  /** CPU time so far. */
  nanoseconds: number
}

/** Its threads by their ids. */
export function threadsOf(pid: number): Map<string, Thread> {
  const threads = new Map<string, Thread>()
  for (const id of readdirSync(`/proc/${pid}/task`)) {
    const read = (file: string) => readFileSync(`/proc/${pid}/task/${id}/${file}`, 'utf8')
    threads.set(id, {
      title: read('comm').trim(),
      switches: Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(read('status'))?.[1]),
      nanoseconds: Number(read('schedstat').split(' ')[0]),
    })
  }
  return threads
}

import { type ChildProcess, execFileSync } from 'node:child_process'
import { accessSync, constants, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { delimiter, join } from 'node:path'
import { freePorts } from '../../src/cli/ports.ts'

const START_LIMIT = 30_000

/** A TCP port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const [port] = await freePorts(1)
  return port as number
}

/** Whether something accepts connections at the address. */
export function accepts(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, host, () => resolve(true)).on('error', () => resolve(false))
    socket.on('connect', () => socket.destroy())
  })
}

/** A program on PATH or in the folders given, which come first; undefined when there is none. */
export function findBinary(name: string, folders: readonly string[]): string | undefined {
  return [...folders, ...(process.env.PATH ?? '').split(delimiter), '/usr/bin', '/usr/local/bin', '/opt/homebrew/bin']
    .filter(Boolean)
    .map((folder) => join(folder, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK)
        return true
      } catch {
        return false
      }
    })
}

/** undefined: run as we are; ids: as root, the user to become. */
export function unprivileged(users: readonly string[]): { uid: number; gid: number } | undefined | 'none' {
  if (process.getuid?.() !== 0) return undefined
  for (const user of users) {
    try {
      const id = (flag: string) => Number(execFileSync('id', [flag, user], { stdio: ['ignore', 'pipe', 'ignore'] }).toString())
      return { uid: id('-u'), gid: id('-g') }
    } catch {}
  }
  return 'none'
}

/** Children still running when the test process goes away are ended with it. */
const running = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** Ends a child with the test process, whatever becomes of it. */
export function hold(child: ChildProcess): void {
  running.add(child)
}

/** Waits for the line with which a server says it is ready. */
export function announced(child: ChildProcess, line: RegExp, name: string, directory: string): Promise<void> {
  running.add(child)
  return new Promise((resolve, reject) => {
    let text = ''
    const limit = setTimeout(() => fail(`is not ready after ${START_LIMIT} ms`), START_LIMIT)
    const fail = (what: string) => {
      clearTimeout(limit)
      running.delete(child)
      child.kill('SIGKILL')
      rmSync(directory, { recursive: true, force: true })
      reject(new Error(`${name} ${what}: ${text.slice(-500)}`))
    }
    const read = (chunk: Buffer) => {
      text = (text + chunk.toString()).slice(-4000)
      if (!line.test(text)) return
      clearTimeout(limit)
      child.removeListener('exit', exited)
      // Keep reading, or a full pipe would stop the server; but don't keep the test process alive for it.
      for (const stream of [child.stdout, child.stderr]) {
        stream?.removeListener('data', read)
        stream?.resume()
        if (stream && 'unref' in stream && typeof stream.unref === 'function') stream.unref()
      }
      child.unref()
      resolve()
    }
    const exited = (code: number | null) => fail(`ended with ${code}`)
    child.once('exit', exited)
    child.once('error', (error) => fail(error.message))
    child.stdout?.on('data', read)
    child.stderr?.on('data', read)
  })
}

export async function end(child: ChildProcess, signal: NodeJS.Signals, directory: string): Promise<void> {
  child.ref()
  if (child.exitCode === null && child.signalCode === null) {
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()))
    const limit = setTimeout(() => child.kill('SIGKILL'), 10_000)
    child.kill(signal)
    await gone
    clearTimeout(limit)
  }
  running.delete(child)
  rmSync(directory, { recursive: true, force: true })
}

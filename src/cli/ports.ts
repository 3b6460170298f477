import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'

/** Below what systems give to outgoing connections (from 32768 on Linux): none of those takes a port between asking and use. */
const [FIRST, LAST] = [16_000, 31_999]
const MOST_TRIES = 10_000

/**
 * TCP ports that a program may listen on now, drawn at random, no two the same; they are not reserved. Ports in `taken` are
 * passed over. Rejects when nearly all are in use.
 */
export async function freePorts(count: number, taken: ReadonlySet<number> = new Set()): Promise<number[]> {
  const ports = new Set<number>()
  for (let tries = 0; ports.size < count; tries++) {
    if (tries > MOST_TRIES) throw new Error(`no ${count} free ports between ${FIRST} and ${LAST}; end programs that listen there`)
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST + 1))
    if (!taken.has(port) && !ports.has(port) && (await portAvailable(port))) ports.add(port)
  }
  return [...ports]
}

/** Whether this machine would let a program listen on the port, on all addresses and on the loopback one. */
export async function portAvailable(port: number): Promise<boolean> {
  // A listener on 127.0.0.1 alone does not stop one on the wildcard address everywhere: both are tried.
  for (const host of [undefined, '127.0.0.1']) {
    const server = createServer()
    try {
      server.listen(port, host)
      await once(server, 'listening')
    } catch {
      return false
    } finally {
      if (server.listening) await new Promise((done) => server.close(done))
    }
  }
  return true
}

/** Whether something accepts connections there now. */
export function accepts(target: { port: number } | { path: string }): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect('path' in target ? { path: target.path } : { port: target.port, host: '127.0.0.1' })
    const end = (answer: boolean) => {
      socket.destroy()
      done(answer)
    }
    socket.once('connect', () => end(true)).once('error', () => end(false))
    socket.setTimeout(1000, () => end(false))
  })
}

/** Waits until something accepts connections there; false when `timeout` milliseconds passed or `signal` fired first. */
export async function waitUntilAccepts(
  target: { port: number } | { path: string },
  timeout: number,
  signal: AbortSignal,
): Promise<boolean> {
  const end = Date.now() + timeout
  while (!signal.aborted && Date.now() < end) {
    if (await accepts(target)) return true
    await pause(50, undefined, { signal }).catch(() => undefined)
  }
  return false
}

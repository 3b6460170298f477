import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'

/**
 * Asks the operating system for free TCP ports. All are held until the last one is known, so no two are the same;
 * they are free again, and not reserved, when this returns. Ports in `taken` are passed over.
 */
export async function freePorts(count: number, taken: ReadonlySet<number> = new Set()): Promise<number[]> {
  const servers: Server[] = []
  try {
    const ports: number[] = []
    while (ports.length < count) {
      const server = createServer().listen(0, '127.0.0.1')
      servers.push(server)
      await once(server, 'listening')
      const { port } = server.address() as AddressInfo
      if (!taken.has(port)) ports.push(port)
    }
    return ports
  } finally {
    await Promise.all(servers.map((server) => new Promise((done) => server.close(done))))
  }
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

import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** A TCP proxy that breaks on demand. */
export interface Proxy extends AsyncDisposable {
  port: number
  /** Ends all connections at once and takes no new ones. */
  cut(): void
  /** Keeps connections, and takes new ones, but passes nothing on: the peer hangs. */
  stall(): void
  /** Passes everything again; what was held back first. */
  heal(): void
}

/** Starts a proxy on a port of 127.0.0.1, a free one where none is given, in front of host and port. */
export async function startProxy(host: string, port: number, own = 0): Promise<Proxy> {
  let state: 'passing' | 'cut' | 'stalled' = 'passing'
  const pairs = new Set<[Socket, Socket]>()
  const server = createServer((near) => {
    if (state === 'cut') {
      near.destroy()
      return
    }
    const far = connect(port, host)
    const pair: [Socket, Socket] = [near, far]
    pairs.add(pair)
    const end = () => {
      near.destroy()
      far.destroy()
      pairs.delete(pair)
    }
    for (const socket of pair) socket.on('error', end).on('close', end)
    near.on('data', (chunk) => far.write(chunk))
    far.on('data', (chunk) => near.write(chunk))
    if (state === 'stalled') for (const socket of pair) socket.pause()
  })
  await new Promise<void>((resolve) => server.listen(own, '127.0.0.1', resolve))
  const cut = () => {
    state = 'cut'
    for (const [near, far] of [...pairs]) {
      near.destroy()
      far.destroy()
    }
  }
  return {
    port: (server.address() as AddressInfo).port,
    cut,
    stall() {
      state = 'stalled'
      for (const pair of pairs) for (const socket of pair) socket.pause()
    },
    heal() {
      state = 'passing'
      for (const pair of pairs) for (const socket of pair) socket.resume()
    },
    async [Symbol.asyncDispose]() {
      cut()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

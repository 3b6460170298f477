import type { Socket } from 'node:net'

export interface Joined {
  /** Bytes that went from the client, and to it. */
  onBytes(received: number, sent: number): void
  /** Both sides have ended, or one of them was lost. */
  onEnd(): void
}

/** Passes bytes between two sockets both ways, no faster than each takes them, ends included, until both have ended. */
export function join(client: Socket, upstream: Socket, events: Joined): void {
  let over = false
  const end = () => {
    if (over) return
    over = true
    client.destroy()
    upstream.destroy()
    events.onEnd()
  }
  const pass = (from: Socket, to: Socket, count: (bytes: number) => void) => {
    from.on('data', (chunk: Buffer) => {
      count(chunk.length)
      if (!to.write(chunk)) from.pause()
    })
    to.on('drain', () => from.resume())
    from.on('end', () => to.end())
    from.on('error', end)
    from.on('close', () => {
      // What is on its way to the other side still arrives.
      if (to.destroyed || to.writableFinished) end()
      else to.end(end)
    })
    from.resume()
  }
  pass(client, upstream, (bytes) => events.onBytes(bytes, 0))
  pass(upstream, client, (bytes) => events.onBytes(0, bytes))
}

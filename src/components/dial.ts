import { connect, type Socket } from 'node:net'

export interface DialOptions {
  host: string
  port: number
  /** Milliseconds until it fails with `no connection within … ms`. */
  limit: number
  signal?: AbortSignal | undefined
}

/** A connection that is not up after so many milliseconds gets another one beside it. */
const STAGGER = 250
/** Attempts under way at most. The system repeats each one's first packet every second or later. */
const MOST = 4

/**
 * A TCP connection, the first that comes up of a few that begin one after the other: where packets are lost, the system repeats
 * what it asked a second later, then after longer and longer waits, and a server that can be reached again would be met by chance.
 * Rejects with the error of the first that fails: all go to one server.
 */
export function dial({ host, port, limit, signal }: DialOptions): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>()
  const attempts = new Set<Socket>()
  const settle = () => {
    clearTimeout(late)
    clearInterval(more)
    signal?.removeEventListener('abort', aborted)
    for (const socket of attempts) socket.destroy()
  }
  const fail = (error: Error) => {
    settle()
    reject(error)
  }
  const aborted = () => fail(signal?.reason as Error)
  const attempt = () => {
    const socket = connect({ host, port, noDelay: true })
    attempts.add(socket)
    socket.once('error', fail)
    socket.once('connect', () => {
      socket.off('error', fail)
      attempts.delete(socket)
      settle()
      resolve(socket)
    })
    if (attempts.size === MOST) clearInterval(more)
  }
  const late = setTimeout(() => fail(new Error(`no connection within ${limit} ms`)), limit)
  const more = setInterval(attempt, STAGGER)
  if (signal?.aborted) aborted()
  else {
    signal?.addEventListener('abort', aborted, { once: true })
    attempt()
  }
  return promise
}

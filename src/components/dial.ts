import { connect, isIP, type Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions as TlsOptions } from 'node:tls'

export interface DialOptions {
  host: string
  port: number
  /** Talks TLS as soon as it is connected; the name to check is the host, unless told. */
  tls?: TlsOptions | undefined
  /** Milliseconds until it fails with `no connection within … ms`. */
  limit: number
  signal?: AbortSignal | undefined
}

/** A connection that is not up after so many milliseconds gets another one beside it. */
const STAGGER = 250
/** Attempts under way at most. The system repeats each one's first packet every second or later, so all but the first make way for new ones. */
const MOST = 4

/** A connection, with TLS where that is asked for. Rejects with the system's error, `no connection within … ms`, or the signal's reason. */
export async function dial(options: DialOptions): Promise<Socket> {
  const { host, tls, limit, signal } = options
  const until = performance.now() + limit
  const plain = await connected(options)
  if (!tls) return plain
  const { promise, resolve, reject } = Promise.withResolvers<Socket>()
  const named = /[a-z]/i.test(host) && !host.includes(':') ? { servername: host } : {}
  // The host is what an address of IP is checked by.
  const socket = connectTls({ ...named, ...tls, host, socket: plain })
  const closed = () => reject(new Error('the connection was closed during the handshake'))
  const aborted = () => reject(signal?.reason)
  const late = setTimeout(() => reject(new Error(`no connection within ${limit} ms`)), Math.max(1, until - performance.now()))
  socket.once('error', reject)
  socket.once('close', closed)
  socket.once('secureConnect', () => resolve(socket))
  signal?.addEventListener('abort', aborted, { once: true })
  if (signal?.aborted) aborted()
  try {
    return await promise
  } catch (error) {
    socket.on('error', () => {})
    socket.destroy()
    throw error
  } finally {
    clearTimeout(late)
    signal?.removeEventListener('abort', aborted)
    socket.off('error', reject)
    socket.off('close', closed)
  }
}

/**
 * A TCP connection, the first that comes up of a few that begin one after the other: where packets are lost, the system repeats
 * what it asked a second later, then after longer and longer waits, and a server that can be reached again would be met by chance.
 * Rejects with the error of the first that fails: all go to one server.
 */
function connected({ host, port, limit, signal }: DialOptions): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>()
  const attempts = new Set<Socket>()
  /** While its name is looked up, further attempts would only look it up again. */
  let found = isIP(host) !== 0
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
    socket.once('lookup', () => {
      found = true
    })
    socket.once('error', fail)
    socket.once('connect', () => {
      socket.off('error', fail)
      attempts.delete(socket)
      settle()
      resolve(socket)
    })
  }
  const late = setTimeout(() => fail(new Error(`no connection within ${limit} ms`)), limit)
  const more = setInterval(() => {
    if (!found) return
    // The first stays: a far server may take longer to answer than the others live.
    const [, oldest] = attempts
    if (attempts.size === MOST && oldest) {
      attempts.delete(oldest)
      oldest.destroy()
    }
    attempt()
  }, STAGGER)
  if (signal?.aborted) aborted()
  else {
    signal?.addEventListener('abort', aborted, { once: true })
    attempt()
  }
  return promise
}

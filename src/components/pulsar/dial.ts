import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions as TlsOptions } from 'node:tls'
import { messageOf } from '../../errors.ts'
import { tlsAdvice } from '../tls-advice.ts'
import { UnreachableError } from './errors.ts'

export interface ConnectionOptions {
  tls: TlsOptions | undefined
  /** Name of the method, and what to say now. */
  auth: { method: string; data(): Promise<string> } | undefined
  /** Limit for connecting and signing in, and for each answer, milliseconds. */
  timeout: number
}

const TLS_FIELDS = { address: 'host', on: 'write pulsar:// instead of pulsar+ssl://' }

/** The same, with what a certificate has to do with it. */
export function unreachable(what: string, error: Error): UnreachableError {
  const tls = tlsAdvice(error, TLS_FIELDS)
  const told = new UnreachableError(`${what}: ${tls?.reason ?? messageOf(error)}`, { cause: error })
  told.next = tls?.next
  return told
}

/** Opens a TCP or TLS connection. Rejects with an Error that names the address, and why. */
export function dial(
  host: string,
  port: number,
  address: string,
  { tls, timeout }: ConnectionOptions,
  signal: AbortSignal,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket: Socket = tls
      ? connectTls({ ...tls, host, port, ...(/[a-z]/i.test(host) ? { servername: host } : {}) })
      : connectTcp(port, host)
    const timer = setTimeout(() => fail(new Error(`no answer within ${timeout} ms`)), timeout)
    const aborted = () => fail(new Error('the component is closing'))
    signal.addEventListener('abort', aborted)
    const fail = (error: Error) => {
      clearTimeout(timer)
      signal.removeEventListener('abort', aborted)
      socket.destroy()
      reject(unreachable(`no connection to the broker at ${address}`, error))
    }
    const ended = () => fail(new Error('the connection was closed during the handshake'))
    socket.once('error', fail)
    socket.once('close', ended)
    socket.once(tls ? 'secureConnect' : 'connect', () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', aborted)
      socket.off('error', fail)
      socket.off('close', ended)
      resolve(socket)
    })
  })
}

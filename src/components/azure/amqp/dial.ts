import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions as TlsOptions } from 'node:tls'
import { messageOf } from '../../../errors.ts'
import { tlsAdvice } from '../../tls-advice.ts'
import { UnreachableError } from './errors.ts'

export interface Place {
  host: string
  port: number
  tls: TlsOptions | boolean
  /** Milliseconds. */
  dialTimeout: number
}

const FIELDS = { address: 'connectionString or namespaceName', on: 'write UseDevelopmentEmulator=true into connectionString' }

/** A socket that is connected, TLS included. Rejects with UnreachableError, or with the signal's reason. */
export function dial({ host, port, tls, dialTimeout }: Place, signal: AbortSignal): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>()
  if (signal.aborted) {
    reject(signal.reason)
    return promise
  }
  const named = /[a-z]/i.test(host) && !host.includes(':') ? { servername: host } : {}
  const socket: Socket = tls ? connectTls({ ...named, ...(tls === true ? {} : tls), host, port }) : connectTcp(port, host)
  const event = tls ? 'secureConnect' : 'connect'
  const settle = () => {
    clearTimeout(timer)
    signal.removeEventListener('abort', aborted)
    socket.off('close', closed)
    socket.off('error', fail)
  }
  const end = (error: Error) => {
    settle()
    socket.on('error', () => {})
    socket.destroy()
    reject(error)
  }
  const fail = (error: Error) => {
    const advice = tlsAdvice(error, FIELDS)
    const told = new UnreachableError(`no connection to ${host}:${port}: ${advice?.reason ?? messageOf(error)}`, { cause: error })
    told.next = advice?.next
    end(told)
  }
  const aborted = () => end(signal.reason as Error)
  const closed = () => fail(new Error('it was closed during the handshake'))
  const timer = setTimeout(() => fail(new Error(`no answer within ${dialTimeout} ms`)), dialTimeout)
  signal.addEventListener('abort', aborted, { once: true })
  socket.once('error', fail)
  socket.once('close', closed)
  socket.once(event, () => {
    settle()
    resolve(socket)
  })
  return promise
}

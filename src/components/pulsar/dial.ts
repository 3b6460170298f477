import type { Socket } from 'node:net'
import type { ConnectionOptions as TlsOptions } from 'node:tls'
import { messageOf } from '../../errors.ts'
import { dial } from '../dial.ts'
import { tlsAdvice } from '../tls-advice.ts'
import { UnreachableError } from './errors.ts'

export interface ConnectionOptions {
  tls: TlsOptions | undefined
  /** Name of the method, and what to say; `anew`: what was said before has expired. */
  auth: { method: string; data(anew?: boolean): Promise<string> } | undefined
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
export async function open(
  host: string,
  port: number,
  address: string,
  { tls, timeout }: ConnectionOptions,
  signal: AbortSignal,
): Promise<Socket> {
  try {
    return await dial({ host, port, tls, limit: timeout, signal })
  } catch (error) {
    const reason = signal.aborted ? new Error('the component is closing') : (error as Error)
    throw unreachable(`no connection to the broker at ${address}`, reason)
  }
}

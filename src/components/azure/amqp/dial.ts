import type { Socket } from 'node:net'
import type { ConnectionOptions as TlsOptions } from 'node:tls'
import { messageOf } from '../../../errors.ts'
import { dial } from '../../dial.ts'
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
export async function open({ host, port, tls, dialTimeout }: Place, signal: AbortSignal): Promise<Socket> {
  try {
    return await dial({ host, port, tls: tls === true ? {} : tls || undefined, limit: dialTimeout, signal })
  } catch (error) {
    if (signal.aborted) throw signal.reason
    const advice = tlsAdvice(error, FIELDS)
    const told = new UnreachableError(`no connection to ${host}:${port}: ${advice?.reason ?? messageOf(error)}`, { cause: error })
    told.next = advice?.next
    throw told
  }
}

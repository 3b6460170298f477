import type { QueryError } from 'mysql2'
import { NoRoomError } from '../no-room.ts'
import { tlsAdvice } from '../tls-advice.ts'

const DEADLOCK = 1213
/** Disk full, error writing file, out of memory (four), the table is full: of MySQL and of MariaDB. */
const FULL = new Set([1021, 1026, 1037, 1038, 1041, 1114])
/** A storage engine passes on what the system said. */
const NO_SPACE = /\(Errcode: 28\b|Got error 28\b/i

/** No answer in the time of an operation. */
export class Late extends Error {}

export function isLate(error: unknown): boolean {
  return error instanceof Late
}

/** As the library says it of a handshake that takes too long. */
export function isSlow(error: unknown): boolean {
  return isLate(error) || (error as { code?: string } | undefined)?.code === 'ETIMEDOUT'
}

export function isDeadlock(error: unknown): boolean {
  return (error as { errno?: number }).errno === DEADLOCK
}

const TLS_FIELDS = {
  address: 'connectionString',
  on: 'write tls=false into connectionString',
  authority: 'pemPath, with tls=custom in connectionString',
}

/** What an operation is told when the server is away or refuses the user. */
export function unreachable(owner: string, where: string, timeout: number, error: unknown): Error {
  const tls = tlsAdvice(error, TLS_FIELDS)
  const reason = isLate(error)
    ? `no answer within ${timeout} ms`
    : tls
      ? tls.reason
      : error instanceof AggregateError
        ? error.errors.map((one: Error) => one.message).join('; ')
        : (error as Error).message
  const denied = /ER_ACCESS_DENIED|ER_DBACCESS_DENIED|AUTH/.test(String((error as { code?: string }).code))
  const next = denied
    ? 'correct user and password in connectionString'
    : tls
      ? `${tls.next}; the next operation connects again`
      : 'start the server or correct its address; the next operation connects again'
  return new Error(`${owner}: cannot reach MySQL at ${where}: ${reason || String((error as { code?: string }).code)} (${next})`, {
    cause: error,
  })
}

/** What an operation is told when the server is full; any other error as it is. */
export function full(owner: string, where: string, error: unknown): unknown {
  const { errno = 0, message } = error as QueryError
  if (!FULL.has(errno) && !NO_SPACE.test(message)) return error
  return new NoRoomError(
    `${owner}: MySQL at ${where} has no room: ${message} (free space on the server's disk, or raise the size of its tablespace; it is used again at once)`,
    { cause: error },
  )
}

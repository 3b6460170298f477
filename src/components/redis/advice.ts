import { messageOf } from '../../errors.ts'
import { NoRoomError } from '../no-room.ts'
import { tlsAdvice } from '../tls-advice.ts'

const REFUSED = /^(WRONGPASS|NOAUTH|ERR (AUTH|invalid password|Client sent AUTH))/

/** What came of a try to connect, and what to do. `away`: the server did not answer, or nothing that can be trusted. */
export function redisAdvice(error: unknown, tls: boolean): { reason: string; next: string; away: boolean } {
  const refusal = refusalIn(error)
  if (refusal) return { reason: `it refuses the login: ${refusal}`, next: 'correct redisUsername and redisPassword', away: false }
  const advice = tlsAdvice(error, { address: 'redisHost', on: 'set enableTLS to false', client: 'clientCert and clientKey' })
  if (advice) return { ...advice, away: true }
  const silent = tls && /no connection within/.test(messageOf(error)) ? ', which a server without TLS does: see enableTLS' : ''
  return { reason: `${messageOf(error)}${silent}`, next: 'start the server or correct redisHost', away: true }
}

/** What a server that is full refuses with: `maxmemory`, and a disk that takes no snapshot or log any more. */
const FULL = /^(?:OOM|MISCONF) /

/** What a command is told that the server has no room for; any other reply as it is. `where`: e.g. `Redis at host:port`. */
export function withoutRoom<T>(reply: T, where: string): T | NoRoomError {
  if (!(reply instanceof Error) || !FULL.test(reply.message)) return reply
  const next = reply.message.startsWith('OOM')
    ? 'raise maxmemory, choose a maxmemory-policy that evicts, or delete keys'
    : "free space on the server's disk"
  return new NoRoomError(`${where} has no room: ${reply.message} (${next}; it is used again at once)`, { cause: reply })
}

function refusalIn(thrown: unknown): string | undefined {
  for (let error: unknown = thrown; error instanceof Error; error = error.cause) if (REFUSED.test(error.message)) return error.message
  return undefined
}

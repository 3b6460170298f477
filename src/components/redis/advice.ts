import { messageOf } from '../../errors.ts'
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

function refusalIn(thrown: unknown): string | undefined {
  for (let error: unknown = thrown; error instanceof Error; error = error.cause) if (REFUSED.test(error.message)) return error.message
  return undefined
}

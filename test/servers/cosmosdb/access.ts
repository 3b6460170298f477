import { createHmac } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'

/** The key of the account, which is the one that Microsoft documents for its own emulator. */
const KEY = 'C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw=='
/** Milliseconds that a request's date may be off. */
const SKEW = 15 * 60_000

/**
 * What is wrong with the Authorization header; undefined: nothing. Signatures are computed as documented, and what Entra ID's
 * tokens claim is looked at.
 * https://learn.microsoft.com/rest/api/cosmos-db/access-control-on-cosmosdb-resources
 */
export function refusal(method: string, path: string, headers: IncomingHttpHeaders): string | undefined {
  const given = new URLSearchParams(decodeURIComponent(headers.authorization ?? '').replaceAll('+', '%2B'))
  if (given.get('type') === 'aad') return refusedToken(given.get('sig') ?? '', headers.host ?? '')
  const date = String(headers['x-ms-date'] ?? '')
  if (given.get('type') !== 'master') return 'Required Header authorization is missing. Ensure a valid Authorization token is passed.'
  if (!(Math.abs(Date.parse(date) - Date.now()) < SKEW)) return 'The authorization token is not valid at the current time.'
  const parts = path.split('/').filter(Boolean).map(decodeURIComponent)
  const named = parts.length % 2 === 0
  const type = (named ? parts.at(-2) : parts.at(-1)) ?? ''
  const link = (named ? parts : parts.slice(0, -1)).join('/')
  const text = `${method.toLowerCase()}\n${type.toLowerCase()}\n${link}\n${date.toLowerCase()}\n\n`
  const expected = createHmac('sha256', Buffer.from(KEY, 'base64')).update(text).digest('base64')
  if (given.get('sig') === expected) return undefined
  return `The input authorization token can't serve the request. The wrong key is being used or the expected payload is not built as per the protocol. Server used the following payload to sign: '${text.replaceAll('\n', '\\n')}'`
}

function refusedToken(token: string, host: string): string | undefined {
  try {
    const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as { aud: string; exp: number }
    if (new URL(claims.aud).hostname !== new URL(`http://${host}`).hostname) return `the audience '${claims.aud}' is invalid`
    return claims.exp * 1000 > Date.now() ? undefined : 'the token is expired'
  } catch {
    return 'the token is malformed'
  }
}

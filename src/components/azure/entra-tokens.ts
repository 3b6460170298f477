import type { TokenSource } from './amqp/types.ts'
import type { Entra } from './entra.ts'

/** A token whose end cannot be read is asked for again after so long, milliseconds. */
const UNKNOWN = 5 * 60_000

/** Tokens of Microsoft Entra ID for `$cbs`; they say themselves when they end. */
export function entraTokens(entra: Entra): TokenSource {
  return async (_audience, signal) => {
    const token = await entra.token(signal)
    return { type: 'jwt', token, expires: endOf(token) ?? Date.now() + UNKNOWN }
  }
}

/** Milliseconds since 1970 of a JSON web token's `exp`. */
function endOf(token: string): number | undefined {
  try {
    const { exp } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as { exp?: unknown }
    return typeof exp === 'number' ? exp * 1000 : undefined
  } catch {
    return undefined
  }
}

import { createHmac } from 'node:crypto'
import type { ConnectionString } from './connection-string.ts'
import type { CbsToken, TokenSource } from './types.ts'

/** How long a signature that we make is valid, milliseconds. */
const LIFETIME = 3_600_000
/** A signature of somebody else's whose end cannot be read is given again after so long. */
const UNKNOWN = 3_600_000

/**
 * A shared access signature; `expires` in whole seconds since 1970.
 * https://learn.microsoft.com/rest/api/eventhub/generate-sas-token
 */
export function signSas(audience: string, key: { name: string; key: string }, expires: number): string {
  const resource = encodeURIComponent(audience)
  const signature = createHmac('sha256', key.key).update(`${resource}\n${expires}`).digest('base64')
  return `SharedAccessSignature sr=${resource}&sig=${encodeURIComponent(signature)}&se=${expires}&skn=${encodeURIComponent(key.name)}`
}

/** A token for `$cbs` or, as its `token`, for the `Authorization` of requests over HTTP. */
export function sasToken({ key, signature }: ConnectionString, audience: string): CbsToken {
  if (key) {
    const expires = Math.floor((Date.now() + LIFETIME) / 1000)
    return { type: 'servicebus.windows.net:sastoken', token: signSas(audience, key, expires), expires: expires * 1000 }
  }
  const end = Number(/(?:^|[ &])se=(\d+)/.exec(signature ?? '')?.[1])
  return { type: 'servicebus.windows.net:sastoken', token: signature ?? '', expires: end > 0 ? end * 1000 : Date.now() + UNKNOWN }
}

/** Tokens as the connection string has them, or lets them be made. */
export function sasTokens(connection: ConnectionString): TokenSource {
  return async (audience) => sasToken(connection, audience)
}

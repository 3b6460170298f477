import { entraFields, readEntra } from '../azure/entra-settings.ts'
import { MetadataError, type MetadataField, type MetadataValues } from '../metadata.ts'

/** Whom a connection signs in as, and in how many milliseconds it does so again. */
export interface RedisUser {
  username: string
  password: string
  renew: number
}

export const loginFields: readonly MetadataField[] = [
  {
    name: 'useEntraID',
    kind: 'bool',
    default: 'false',
    description:
      'Signs in by Microsoft Entra ID, as the azure… fields say, with a token that is renewed. No redisUsername and redisPassword then.',
  },
  ...entraFields,
]

const RESOURCE = 'https://redis.azure.com'
/** A connection has a new token so long before the end of the old one, milliseconds; tokens are asked for a minute earlier. */
const MARGIN = 4 * 60_000
const LEAST = 30_000
/** Until a token that was not to be had is asked for again, milliseconds. */
export const RENEW_AGAIN = 30_000

const logins = new WeakMap<MetadataValues, () => Promise<RedisUser>>()

/** Signing in by tokens, when the fields ask for it: one token for all connections of a component. Throws MetadataError. */
export function readLogin(values: MetadataValues): (() => Promise<RedisUser>) | undefined {
  if (!values.useEntraID) return undefined
  if (values.redisUsername || values.redisPassword)
    throw new MetadataError(
      'redis client configuration error: username or password must not be specified when using Entra ID authentication',
    )
  const known = logins.get(values)
  if (known) return known
  const settings = readEntra(values)
  // Not disposed of: its connections close by themselves when they are idle.
  let entra: Promise<{ token(): Promise<string> }> | undefined
  const login = async () => {
    entra ??= import('../azure/entra.ts').then(({ Entra }) => new Entra(settings, RESOURCE))
    return userOf(await (await entra).token(), Date.now())
  }
  logins.set(values, login)
  return login
}

/** The user of Redis is the object that the token is about. */
function userOf(token: string, now: number): RedisUser {
  let claims: { oid?: unknown; exp?: unknown } = {}
  try {
    claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as typeof claims
  } catch {
    // Said below, without the token.
  }
  if (typeof claims?.oid !== 'string') throw new Error('redis client configuration error: could not parse object ID from Auth token')
  const ends = Number(claims.exp) * 1000
  return { username: claims.oid, password: token, renew: Math.max(LEAST, (Number.isFinite(ends) ? ends : now) - now - MARGIN) }
}

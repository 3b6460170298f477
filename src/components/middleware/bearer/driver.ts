import type { Middleware, MiddlewareReply, MiddlewareRequest } from '../../../blocks/middleware/driver.ts'
import { messageOf } from '../../../errors.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { verifyToken } from '../../crypto/jwt.ts'
import { createKeySet, type KeySet } from '../../crypto/key-set.ts'
import { type MetadataField, parseMetadata } from '../../metadata.ts'
import { Fetcher } from '../fetch.ts'

const metadata: readonly MetadataField[] = [
  { name: 'issuer', kind: 'string', required: true, aliases: ['issuerURL'], description: 'Who issues the tokens: their claim `iss`.' },
  { name: 'audience', kind: 'string', required: true, aliases: ['clientID'], description: 'Whom they are for: their claim `aud`.' },
  {
    name: 'jwksURL',
    kind: 'string',
    description: 'Where the keys are. Default: what the OpenID configuration of the issuer says, read at start.',
  },
]

const SKEW = 5 * 60_000
const REFRESH = 10 * 60_000
const PATIENCE = 30_000
const REFUSED: MiddlewareReply = { status: 401, body: 'Unauthorized' }

class Bearer implements Middleware {
  readonly #context: ComponentContext
  readonly #issuer: string
  readonly #audience: string
  readonly #jwksUrl: string
  #keys: KeySet | undefined

  constructor(context: ComponentContext) {
    const values = parseMetadata(metadata, context.properties)
    this.#context = context
    this.#issuer = String(values.issuer)
    this.#audience = String(values.audience)
    this.#jwksUrl = String(values.jwksURL ?? '')
  }

  async init(signal: AbortSignal): Promise<void> {
    const location = this.#jwksUrl || (await discover(this.#issuer, signal))
    const keys = createKeySet({
      location,
      requestTimeout: PATIENCE,
      minRefreshInterval: REFRESH,
      onError: (error) => this.#context.log.warn(`Error while refreshing JWKS cache: ${error.message}`),
    })
    this.#keys = keys
    await keys.load(signal)
  }

  async handle(passing: MiddlewareRequest): Promise<MiddlewareReply | undefined> {
    const token = /^bearer (.{10,})$/i.exec(passing.header('authorization') ?? '')?.[1]
    if (token === undefined) return REFUSED
    try {
      await verifyToken(token, {
        issuer: this.#issuer,
        audience: this.#audience,
        skew: SKEW,
        findKey: (id) => (this.#keys as KeySet).find(id),
        now: Date.now,
      })
      return undefined
    } catch (error) {
      this.#context.log.debug(`bearer token refused: ${messageOf(error)}`)
      return REFUSED
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#keys?.[Symbol.asyncDispose]()
  }
}

/** The address of the keys, from the issuer's OpenID configuration. */
async function discover(issuer: string, signal: AbortSignal): Promise<string> {
  await using fetcher = new Fetcher()
  const url = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`
  const wrong = (text: string, cause?: unknown) => new Error(`failed to retrieve OpenID Configuration document ${url}: ${text}`, { cause })
  let document: { issuer?: unknown; jwks_uri?: unknown } | null
  try {
    const reply = await fetcher.fetch({ method: 'GET', url, signal })
    if (reply.status !== 200) throw new Error(`invalid response status code: ${reply.status}`)
    document = JSON.parse(reply.body) as typeof document
  } catch (error) {
    throw wrong(messageOf(error), error)
  }
  if (typeof document?.jwks_uri !== 'string' || document.jwks_uri === '') throw wrong("it does not contain a 'jwks_uri'")
  if (document.issuer !== issuer)
    throw wrong(`the issuer found in it ('${String(document.issuer)}') is not the one of the component's metadata ('${issuer}')`)
  return document.jwks_uri
}

export const driver: DriverModule<Middleware> = {
  summary: 'Lets through requests with a token (JWT) of an issuer, checked by its published keys; others are answered with status 401.',
  metadata,
  create: (context) => new Bearer(context),
}

import { randomUUID } from 'node:crypto'
import type { Middleware, MiddlewareReply, MiddlewareRequest } from '../../../blocks/middleware/driver.ts'
import { messageOf } from '../../../errors.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { type MetadataField, parseMetadata } from '../../metadata.ts'
import { Fetcher } from '../fetch.ts'
import { parsePattern, plainPath } from '../pattern.ts'
import { requestToken } from '../token.ts'
import { type Session, Sessions } from './sessions.ts'

const metadata: readonly MetadataField[] = [
  { name: 'clientID', kind: 'string', required: true, description: 'Who this sidecar is at the provider.' },
  { name: 'clientSecret', kind: 'string', required: true, sensitive: true, description: 'Its secret there.' },
  { name: 'scopes', kind: 'string', description: 'Scopes to ask for, separated by commas.' },
  { name: 'authURL', kind: 'string', required: true, description: 'Where callers prove who they are.' },
  { name: 'tokenURL', kind: 'string', required: true, description: 'The token endpoint of the provider.' },
  { name: 'authHeaderName', kind: 'string', default: 'Authorization', description: 'Header that carries the token.' },
  { name: 'redirectURL', kind: 'string', description: 'Where the provider sends callers back to: a URL that this pipeline serves.' },
  { name: 'forceHTTPS', kind: 'bool', default: 'false', description: 'Callers come through TLS, though this sidecar sees none.' },
  { name: 'pathFilter', kind: 'string', description: 'Regular expression; requests whose path does not match pass without a token.' },
]

const COOKIE = 'outrider-oauth2'

/**
 * Who calls for the first time goes to the provider (302), comes back with a code, which is exchanged for a token, and goes
 * on to where it wanted (302); its session then carries the token into every request.
 */
class OAuth2 implements Middleware {
  readonly #context: ComponentContext
  readonly #values: Record<string, string>
  readonly #https: boolean
  readonly #filter: RegExp | undefined
  readonly #sessions = new Sessions()
  readonly #fetcher = new Fetcher()

  constructor(context: ComponentContext) {
    const values = parseMetadata(metadata, context.properties)
    this.#context = context
    this.#values = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, String(value ?? '')]))
    this.#https = values.forceHTTPS === true
    this.#filter = values.pathFilter ? parsePattern('pathFilter', String(values.pathFilter)) : undefined
  }

  async init(): Promise<void> {}

  handle(passing: MiddlewareRequest): MiddlewareReply | undefined | Promise<MiddlewareReply | undefined> {
    if (this.#filter && !this.#filter.test(plainPath(passing.path))) return undefined
    const id = cookie(passing.header('cookie'))
    const session = this.#sessions.find(id, performance.now())
    if (session?.header !== undefined) {
      passing.setHeader(this.#values.authHeaderName as string, session.header)
      return undefined
    }
    const query = new URLSearchParams(passing.query)
    const state = query.get('state')
    if (!state) return this.#toProvider(passing, id)
    if (!session?.target) return { status: 500, body: 'Internal Server Error' }
    if (state !== session.state) return { status: 400, body: 'invalid state' }
    const code = query.get('code')
    return code ? this.#exchange(session, id, code) : { status: 400, body: 'code not found' }
  }

  #toProvider(passing: MiddlewareRequest, id: string | undefined): MiddlewareReply {
    const { authURL = '', clientID = '', redirectURL, scopes } = this.#values
    const state = randomUUID()
    const path = passing.query ? `${passing.path}?${passing.query}` : passing.path
    const host = passing.header('host')
    const target = this.#https && host ? `https://${host}${path}` : path
    this.#sessions.end(id)
    const begun = this.#sessions.begin({ state, target }, performance.now())
    const url = new URL(authURL)
    const { searchParams } = url
    searchParams.set('access_type', 'offline')
    searchParams.set('client_id', clientID)
    if (redirectURL) searchParams.set('redirect_uri', redirectURL)
    searchParams.set('response_type', 'code')
    if (scopes) searchParams.set('scope', scopes.split(',').join(' '))
    searchParams.set('state', state)
    return this.#redirect(url.toString(), begun)
  }

  async #exchange(session: Session, id: string | undefined, code: string): Promise<MiddlewareReply> {
    const { tokenURL = '', clientID = '', clientSecret = '', redirectURL } = this.#values
    const form = new URLSearchParams({ grant_type: 'authorization_code', code })
    if (redirectURL) form.set('redirect_uri', redirectURL)
    try {
      const token = await requestToken(this.#fetcher, { tokenUrl: tokenURL, clientId: clientID, clientSecret, style: 'auto', form })
      // A new id: whoever knew the old one, from before the caller was known, has nothing by it.
      this.#sessions.end(id)
      const begun = this.#sessions.begin({ header: token.header }, performance.now(), token.lifetime)
      return this.#redirect(session.target as string, begun)
    } catch (error) {
      this.#context.log.error(`Failed to exchange token: ${messageOf(error)}`)
      return { status: 500, body: 'Internal Server Error' }
    }
  }

  #redirect(location: string, id: string): MiddlewareReply {
    const secure = this.#https ? '; Secure' : ''
    return { status: 302, headers: { location, 'set-cookie': `${COOKIE}=${id}; Path=/; HttpOnly; SameSite=Lax${secure}` } }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#fetcher[Symbol.asyncDispose]()
  }
}

function cookie(header: string | undefined): string | undefined {
  for (const pair of header?.split(';') ?? []) {
    const [name, value] = pair.trim().split('=', 2)
    if (name === COOKIE) return value
  }
  return undefined
}

export const driver: DriverModule<Middleware> = {
  summary: 'Sends callers to an OAuth2 provider and puts the token that they come back with into their requests.',
  metadata,
  create: (context) => new OAuth2(context),
}

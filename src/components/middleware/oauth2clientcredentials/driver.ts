import type { Middleware, MiddlewareReply, MiddlewareRequest } from '../../../blocks/middleware/driver.ts'
import { messageOf } from '../../../errors.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'
import { Fetcher } from '../fetch.ts'
import { parsePattern, plainPath } from '../pattern.ts'
import { type AuthStyle, requestToken, type Token, type TokenRequest } from '../token.ts'

const metadata: readonly MetadataField[] = [
  { name: 'clientID', kind: 'string', required: true, description: 'Who this sidecar is at the provider.' },
  { name: 'clientSecret', kind: 'string', required: true, sensitive: true, description: 'Its secret there.' },
  { name: 'scopes', kind: 'string', required: true, description: 'Scopes to ask for, separated by commas.' },
  { name: 'tokenURL', kind: 'string', required: true, description: 'The token endpoint of the provider.' },
  { name: 'headerName', kind: 'string', required: true, description: 'Header that carries the token, e.g. Authorization.' },
  {
    name: 'endpointParamsQuery',
    kind: 'string',
    description: 'Further fields for the token endpoint, as a query: `audience=x&resource=y`.',
  },
  {
    name: 'authStyle',
    kind: 'int',
    default: '0',
    min: 0,
    max: 2,
    description: 'How the client proves itself: 0 what works, 1 in the form, 2 in the header.',
  },
  { name: 'pathFilter', kind: 'string', description: 'Regular expression; requests whose path does not match pass without a token.' },
]

const STYLES: readonly AuthStyle[] = ['auto', 'params', 'header']
/** For tokens that do not say how long they are good for, milliseconds. */
const LIFETIME = 3_600_000
/** A token is not used in its last moments: it has a way to go. */
const MARGIN = 10_000

class ClientCredentials implements Middleware {
  readonly #context: ComponentContext
  readonly #request: TokenRequest
  readonly #headerName: string
  readonly #filter: RegExp | undefined
  readonly #fetcher = new Fetcher()
  #token: { header: string; until: number } | undefined
  /** One request for a token at a time; those who come meanwhile wait for it. */
  #asking: Promise<string> | undefined

  constructor(context: ComponentContext) {
    const values = parseMetadata(metadata, context.properties)
    const text = (name: string) => String(values[name] ?? '')
    if (!URL.canParse(text('tokenURL'))) throw new MetadataError('metadata field tokenURL is not a URL')
    this.#context = context
    this.#headerName = text('headerName')
    this.#filter = text('pathFilter') === '' ? undefined : parsePattern('pathFilter', text('pathFilter'))
    const form = new URLSearchParams({ grant_type: 'client_credentials', scope: text('scopes').split(',').join(' ') })
    for (const [name, value] of new URLSearchParams(text('endpointParamsQuery'))) form.set(name, value)
    this.#request = {
      tokenUrl: text('tokenURL'),
      clientId: text('clientID'),
      clientSecret: text('clientSecret'),
      style: STYLES[values.authStyle as number] as AuthStyle,
      form,
    }
  }

  async init(): Promise<void> {}

  handle(passing: MiddlewareRequest): MiddlewareReply | undefined | Promise<MiddlewareReply | undefined> {
    if (this.#filter && !this.#filter.test(plainPath(passing.path))) return undefined
    if (this.#token && performance.now() < this.#token.until) {
      passing.setHeader(this.#headerName, this.#token.header)
      return undefined
    }
    return this.#ask().then(
      (header) => {
        passing.setHeader(this.#headerName, header)
        return undefined
      },
      (error: unknown) => {
        this.#context.log.error(`Error acquiring token: ${messageOf(error)}`)
        return { status: 500, body: 'Internal Server Error' }
      },
    )
  }

  #ask(): Promise<string> {
    this.#asking ??= requestToken(this.#fetcher, this.#request)
      .then((token) => this.#keep(token))
      .finally(() => {
        this.#asking = undefined
      })
    return this.#asking
  }

  #keep({ header, lifetime = LIFETIME }: Token): string {
    this.#token = { header, until: performance.now() + Math.max(lifetime - MARGIN, lifetime / 2) }
    return header
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#fetcher[Symbol.asyncDispose]()
  }
}

export const driver: DriverModule<Middleware> = {
  summary: 'Puts a token that the sidecar gets for itself (OAuth2 client credentials) into each request.',
  metadata,
  create: (context) => new ClientCredentials(context),
}

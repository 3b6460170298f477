import { readFileSync } from 'node:fs'
import { messageOf } from '../../errors.ts'
import { HttpClient } from '../../transport/http1/client.ts'
import { type BearerToken, HeldToken } from '../held-token.ts'
import { MetadataError, type MetadataValues } from '../metadata.ts'

export interface OAuthSettings {
  tokenUrl: URL
  ca: string | undefined
  clientId: string
  clientSecret: string
  audiences: readonly string[]
  scopes: readonly string[]
}

const LIMIT = 10_000
const MOST_ANSWER = 1 << 20
/** Of a token that says none, milliseconds. */
const LIFETIME = 3_600_000

/** Dapr's oauth2… fields; undefined when they name no server. Throws MetadataError, with Dapr's words. */
export function readOAuth(values: MetadataValues): OAuthSettings | undefined {
  const text = (name: string) => (values[name] as string | undefined) ?? ''
  const [file, secretFile] = [text('oauth2CredentialsFile'), text('oauth2ClientSecretPath')]
  let [url, clientId, clientSecret] = [text('oauth2TokenURL'), text('oauth2ClientID'), text('oauth2ClientSecret')]
  if (file && secretFile) throw new MetadataError("'oauth2CredentialsFile' and 'oauth2ClientSecretPath' fields are mutually exclusive")
  if (file) {
    const found = credentialsIn(file)
    clientId ||= found.client_id
    clientSecret ||= found.client_secret
    url ||= found.issuer_url
  } else if (secretFile && !clientSecret) clientSecret = read('client secret', secretFile).trim()
  if (!url) return undefined
  const list = (name: string) =>
    text(name)
      .split(',')
      .map((one) => one.trim())
      .filter(Boolean)
  const [audiences, scopes] = [list('oauth2Audiences'), list('oauth2Scopes')]
  const wrong = (why: string) => new MetadataError(`could not instantiate oauth2 token provider: ${why}`)
  if (scopes.length === 0) throw wrong('oauth2 client_credentials token source requires at least one scope')
  if (audiences.length === 0) throw wrong('oauth2 client_credentials token source requires at least one audience')
  const tokenUrl = URL.parse(url)
  if (!/^https?:$/.test(tokenUrl?.protocol ?? '')) throw wrong(`oauth2TokenURL ${url} is not a URL`)
  const ca = text('oauth2TokenCAPEM')
  if (ca && !ca.includes('-----BEGIN ')) throw wrong('failed to parse CA PEM')
  return { tokenUrl: tokenUrl as URL, ca: ca || undefined, clientId, clientSecret, audiences, scopes }
}

function read(what: string, path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new MetadataError(`could not read oauth2 ${what} from file "${path}": ${messageOf(error)}`)
  }
}

function credentialsIn(path: string): { client_id: string; client_secret: string; issuer_url: string } {
  const wrong = (why: string) => new MetadataError(`failed to load credentials from JSON file: ${why}`)
  let found: Record<string, unknown>
  try {
    found = JSON.parse(read('credentials', path)) as Record<string, unknown>
  } catch (error) {
    // The parser's words show what it read.
    throw wrong(error instanceof MetadataError ? error.message : 'failed to parse JSON credentials file')
  }
  const text = (name: string) => (typeof found?.[name] === 'string' ? found[name] : '')
  const credentials = { client_id: text('client_id'), client_secret: text('client_secret'), issuer_url: text('issuer_url') }
  if (!credentials.client_id || !credentials.client_secret) throw wrong('credentials file must contain client_id and client_secret')
  return credentials
}

/** Access tokens by client credentials (RFC 6749, 4.4), the same one until shortly before it ends. */
export class OAuthTokens implements AsyncDisposable {
  readonly #settings: OAuthSettings
  readonly #http: HttpClient
  readonly #token = new HeldToken(() => this.#ask())

  constructor(settings: OAuthSettings) {
    this.#settings = settings
    this.#http = new HttpClient({ connections: 1, silenceTimeout: LIMIT, ...(settings.ca ? { tls: { ca: settings.ca } } : {}) })
  }

  /** Rejects naming the server, without what was sent or answered. */
  current(signal?: AbortSignal): Promise<string> {
    return this.#token.current(signal)
  }

  /** The one that is held has expired: the next use asks for another. */
  drop(): void {
    this.#token.drop()
  }

  async #ask(): Promise<BearerToken> {
    const { tokenUrl, clientId, clientSecret } = this.#settings
    // Go's library tries the header first and then the form, as servers differ.
    const pair = Buffer.from([clientId, clientSecret].map((text) => encodeURIComponent(text)).join(':')).toString('base64')
    let reply = await this.#post({ authorization: `Basic ${pair}` }, {})
    if (reply.status !== 200) reply = await this.#post({}, { client_id: clientId, client_secret: clientSecret })
    if (reply.status < 200 || reply.status > 299)
      throw new Error(`no token from ${tokenUrl.origin}: it answers ${reply.status}; check the oauth2… fields`)
    let answer: { access_token?: unknown; expires_in?: unknown } = {}
    try {
      answer = JSON.parse(reply.text) as typeof answer
    } catch {
      // Said below.
    }
    if (typeof answer?.access_token !== 'string') throw new Error(`no token from ${tokenUrl.origin}: its answer has no access_token`)
    const lifetime = Number(answer.expires_in) * 1000
    return { token: answer.access_token, expires: Date.now() + (lifetime > 0 ? lifetime : LIFETIME) }
  }

  async #post(headers: Record<string, string>, own: Record<string, string>): Promise<{ status: number; text: string }> {
    const { tokenUrl, audiences, scopes } = this.#settings
    const form = new URLSearchParams({ grant_type: 'client_credentials', scope: scopes.join(' '), ...own })
    for (const audience of audiences) form.append('audience', audience)
    const reply = await this.#http.request({
      url: tokenUrl,
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json', ...headers },
      body: form.toString(),
      signal: AbortSignal.timeout(LIMIT),
      limit: MOST_ANSWER,
      tooLarge: () => new Error(`${tokenUrl.origin} answers with more than ${MOST_ANSWER} bytes`),
    })
    return { status: reply.status, text: reply.body.toString() }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#http[Symbol.asyncDispose]()
  }
}

import { createPrivateKey, sign } from 'node:crypto'
import { messageOf } from '../../errors.ts'
import { HttpClient } from '../../transport/http1/client.ts'
import { type BearerToken, HeldToken } from '../held-token.ts'
import { MetadataError } from '../metadata.ts'
import type { Identity } from './settings.ts'

const SCOPE = 'https://www.googleapis.com/auth/cloud-platform'
const USERS = 'https://oauth2.googleapis.com/token'
const MACHINE = 'metadata.google.internal'
const GRANT = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
/** Milliseconds for the machine's own service, which is near or not there. */
const NEAR = 3000
const LIMIT = 1 << 20

/**
 * Tokens of Google Cloud: a service account's (RFC 7523, RS256), a user's by a refresh token, or the machine's (Compute Engine,
 * GKE with workload identity, Cloud Run). https://developers.google.com/identity/protocols/oauth2/service-account
 */
export class GoogleCredentials implements AsyncDisposable {
  readonly #identity: Identity
  readonly #env: NodeJS.ProcessEnv
  readonly #http = new HttpClient({ connections: 1, connectTimeout: NEAR, silenceTimeout: 30_000 })
  readonly #token = new HeldToken(() => this.#ask())

  /** Throws MetadataError for a key that is none. */
  constructor(identity: Identity, env: NodeJS.ProcessEnv = process.env) {
    this.#identity = identity
    this.#env = env
    if (identity.kind !== 'account') return
    let kind: string | undefined
    try {
      kind = createPrivateKey(identity.key).asymmetricKeyType
    } catch {
      // Node's message tells nothing that helps.
    }
    if (kind !== 'rsa') throw new MetadataError("the service account's private key is no RSA key as PEM")
  }

  /** undefined: nobody has to sign in. Rejects with Google's words, never with the key. */
  async token(signal?: AbortSignal): Promise<string | undefined> {
    return this.#identity.kind === 'nobody' ? undefined : this.#token.current(signal)
  }

  drop(): void {
    this.#token.drop()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#http[Symbol.asyncDispose]()
  }

  #ask(): Promise<BearerToken> {
    const identity = this.#identity
    if (identity.kind === 'account') return this.#post(identity.tokenUri, { grant_type: GRANT, assertion: assertionOf(identity) })
    if (identity.kind === 'user') {
      const { clientId, clientSecret, refreshToken } = identity
      const form = { grant_type: 'refresh_token', client_id: clientId, client_secret: clientSecret, refresh_token: refreshToken }
      return this.#post(USERS, form)
    }
    const host = this.#env.GCE_METADATA_HOST || MACHINE
    const path = `/computeMetadata/v1/instance/service-accounts/default/token?${new URLSearchParams({ scopes: SCOPE })}`
    return this.#exchange('GET', new URL(`http://${host}${path}`), { 'metadata-flavor': 'Google' }).catch((error: unknown) => {
      throw new Error(
        `could not find default credentials: none in metadata (privateKey), GOOGLE_APPLICATION_CREDENTIALS, gcloud's file, or of this machine (${messageOf(error)})`,
        { cause: error },
      )
    })
  }

  #post(uri: string, form: Record<string, string>): Promise<BearerToken> {
    if (!URL.canParse(uri)) throw new MetadataError('metadata field tokenURI is not a URL')
    const body = new URLSearchParams(form).toString()
    const headers = { 'content-type': 'application/x-www-form-urlencoded', 'content-length': String(body.length) }
    return this.#exchange('POST', new URL(uri), headers, body)
  }

  async #exchange(method: string, url: URL, headers: Record<string, string>, body?: string): Promise<BearerToken> {
    const signal = AbortSignal.timeout(30_000)
    const tooLarge = () => new Error(`${url.host} answered with more than 1 MiB`)
    const reply = await this.#http.request({ method, url, headers, body, signal, limit: LIMIT, tooLarge }).catch((error: unknown) => {
      throw new Error(`no answer of ${url.host}: ${messageOf(error)}`, { cause: error })
    })
    let found: Record<string, unknown> = {}
    try {
      found = JSON.parse(reply.body.toString()) as Record<string, unknown>
    } catch {
      // No words of Google.
    }
    const { access_token: token, expires_in: left, error, error_description: words } = found
    if (reply.status === 200 && typeof token === 'string') return { token, expires: Date.now() + (Number(left) || 3600) * 1000 }
    throw new Error(`${url.host} gave no token: status ${reply.status}: ${String(words ?? error ?? reply.reason).split('\n')[0]}`)
  }
}

function assertionOf({ email, keyId, key, tokenUri }: Extract<Identity, { kind: 'account' }>): string {
  const now = Math.floor(Date.now() / 1000)
  const claims = { iss: email, scope: SCOPE, aud: tokenUri, iat: now, exp: now + 3600 }
  const parts = [{ alg: 'RS256', typ: 'JWT', kid: keyId }, claims]
  const text = parts.map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
  return `${text}.${sign('sha256', Buffer.from(text), key).toString('base64url')}`
}

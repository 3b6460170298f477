import { constants, randomUUID, sign } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { messageOf } from '../../errors.ts'
import { HttpClient } from '../../transport/http1/client.ts'
import { type BearerToken, HeldToken } from '../held-token.ts'
import type { Cloud, EntraSettings, Method } from './entra-settings.ts'

const AUTHORITIES: Readonly<Record<Cloud, string>> = {
  AzurePublic: 'https://login.microsoftonline.com',
  AzureChina: 'https://login.chinacloudapi.cn',
  AzureUSGovernment: 'https://login.microsoftonline.us',
}
const MACHINE = 'http://169.254.169.254'
/** Milliseconds for the machine's own service, which is near or not there. */
const NEAR = 1000
const ASSERTION = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
const LIMIT = 1 << 20

/** This way to sign in is not set up here: the next one is tried. */
class Unavailable extends Error {}

/**
 * Tokens of Microsoft Entra ID for one resource, by the first way that is set up: client secret, certificate, workload identity
 * (federated token of Kubernetes), managed identity (App Service, Container Apps, virtual machines and AKS).
 * https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
 */
export class Entra implements AsyncDisposable {
  readonly #settings: EntraSettings
  readonly #resource: string
  readonly #env: NodeJS.ProcessEnv
  readonly #http = new HttpClient({ connections: 1, silenceTimeout: 30_000 })
  readonly #near = new HttpClient({ connections: 1, connectTimeout: NEAR, silenceTimeout: 30_000 })
  readonly #token = new HeldToken(() => this.#find())

  /** `resource`, e.g. `https://vault.azure.net`. */
  constructor(settings: EntraSettings, resource: string, env: NodeJS.ProcessEnv = process.env) {
    this.#settings = settings
    this.#resource = resource
    this.#env = env
  }

  /** Rejects naming what each way lacks, or with Entra ID's words. */
  readonly token = (signal?: AbortSignal): Promise<string> => this.#token.current(signal)

  drop(): void {
    this.#token.drop()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#http[Symbol.asyncDispose](), this.#near[Symbol.asyncDispose]()])
  }

  async #find(): Promise<BearerToken> {
    const lacks: string[] = []
    const ways: Record<Method, () => Promise<BearerToken>> = {
      clientcredentials: () => this.#bySecret(),
      clientcertificate: () => this.#byCertificate(),
      workloadidentity: () => this.#byWorkload(),
      managedidentity: () => this.#byMachine(),
    }
    for (const method of this.#settings.methods) {
      try {
        return await ways[method]()
      } catch (error) {
        if (!(error instanceof Unavailable)) throw error
        lacks.push(error.message)
      }
    }
    throw new Error(`no suitable token provider for Azure AD; errors: ${lacks.join('; ')}`)
  }

  async #bySecret(): Promise<BearerToken> {
    const { tenant, client, secret } = this.#settings
    if (!tenant || !client || !secret)
      throw new Unavailable('parameters azureClientId, azureClientSecret, and azureTenantId must all be present')
    return this.#ask(this.#authority(), tenant, { client_id: client, client_secret: secret })
  }

  async #byCertificate(): Promise<BearerToken> {
    const { tenant, client, certificate } = this.#settings
    if (!certificate) throw new Unavailable('missing client certificate')
    if (!tenant || !client) throw new Error('a client certificate takes azureTenantId and azureClientId, too')
    const now = Math.floor(Date.now() / 1000)
    const audience = `${this.#authority()}/${tenant}/oauth2/v2.0/token`
    const claims = { aud: audience, iss: client, sub: client, jti: randomUUID(), nbf: now, exp: now + 600 }
    const parts = [{ alg: 'PS256', typ: 'JWT', 'x5t#S256': certificate.thumbprint }, claims]
    const text = parts.map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
    const padding = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
    const signature = sign('sha256', Buffer.from(text), { key: certificate.key, ...padding }).toString('base64url')
    return this.#ask(this.#authority(), tenant, {
      client_id: client,
      client_assertion_type: ASSERTION,
      client_assertion: `${text}.${signature}`,
    })
  }

  async #byWorkload(): Promise<BearerToken> {
    const { AZURE_TENANT_ID: tenant, AZURE_CLIENT_ID: client, AZURE_FEDERATED_TOKEN_FILE: file } = this.#env
    if (!tenant || !client || !file)
      throw new Unavailable('no workload identity: AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_FEDERATED_TOKEN_FILE are not all set')
    const assertion = (await readFile(file, 'utf8')).trim()
    return this.#ask(this.#authority(), tenant, {
      client_id: client,
      client_assertion_type: ASSERTION,
      client_assertion: assertion,
    })
  }

  async #byMachine(): Promise<BearerToken> {
    const env = this.#env
    const { client } = this.#settings
    const more: Record<string, string> = client === '' ? {} : { client_id: client }
    if (env.IDENTITY_ENDPOINT && env.IDENTITY_HEADER) {
      const query = new URLSearchParams({ 'api-version': '2019-08-01', resource: this.#resource, ...more })
      return this.#get(this.#http, new URL(`${env.IDENTITY_ENDPOINT}?${query}`), { 'x-identity-header': env.IDENTITY_HEADER })
    }
    const query = new URLSearchParams({ 'api-version': '2018-02-01', resource: this.#resource, ...more })
    const base = (env.AZURE_POD_IDENTITY_AUTHORITY_HOST || MACHINE).replace(/\/+$/, '')
    const url = new URL(`${base}/metadata/identity/oauth2/token?${query}`)
    return this.#get(this.#near, url, { metadata: 'true' }).catch((error: unknown) => {
      throw new Unavailable(`no managed identity: ${messageOf(error)}`, { cause: error })
    })
  }

  #authority(): string {
    return (this.#env.AZURE_AUTHORITY_HOST || AUTHORITIES[this.#settings.cloud]).replace(/\/+$/, '')
  }

  async #ask(authority: string, tenant: string, form: Record<string, string>): Promise<BearerToken> {
    const url = new URL(`${authority}/${encodeURIComponent(tenant)}/oauth2/v2.0/token`)
    const body = new URLSearchParams({ grant_type: 'client_credentials', scope: `${this.#resource}/.default`, ...form }).toString()
    const headers = { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' }
    return this.#exchange(this.#http, { method: 'POST', url, headers: { ...headers, 'content-length': String(body.length) }, body })
  }

  #get(http: HttpClient, url: URL, headers: Record<string, string>): Promise<BearerToken> {
    return this.#exchange(http, { method: 'GET', url, headers })
  }

  async #exchange(
    http: HttpClient,
    request: { method: string; url: URL; headers: Record<string, string>; body?: string },
  ): Promise<BearerToken> {
    const { url } = request
    const tooLarge = () => new Error(`${url.host} answered with more than 1 MiB`)
    const reply = await http
      .request({ ...request, signal: AbortSignal.timeout(30_000), limit: LIMIT, tooLarge })
      .catch((error: unknown) => {
        throw new Error(`no answer of ${url.host}: ${messageOf(error)}`, { cause: error })
      })
    const found = objectOf(reply.body)
    const token = found?.access_token
    if (reply.status === 200 && typeof token === 'string') {
      // Entra ID says seconds from now; the machine's services say when, and some as text.
      const left = Number(found?.expires_in)
      const at = Number(found?.expires_on)
      return { token, expires: left > 0 ? Date.now() + left * 1000 : at > 0 ? at * 1000 : Date.now() + 3_600_000 }
    }
    const { error, error_description: words } = found ?? {}
    // The first line; after it come ids and times of the request.
    const why = String(words ?? error ?? reply.reason).split(/\r?\n/)[0]
    throw new Error(`${url.host} gave no token: status ${reply.status}: ${why}`)
  }
}

function objectOf(body: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(body.toString())
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

import { setTimeout as pause } from 'node:timers/promises'
import { messageOf } from '../../errors.ts'
import { HttpClient, type WholeReply } from '../../transport/http1/client.ts'
import { MetadataError, type MetadataField, parseMetadata } from '../metadata.ts'
import { isUnreachable } from '../unreachable.ts'
import { Entra } from './entra.ts'
import { type Cloud, cloudOf, entraFields, environmentField, readEntra } from './entra-settings.ts'

/** What Dapr's components on Key Vault say of the vault and of signing in. */
export const vaultFields: readonly MetadataField[] = [
  { name: 'vaultName', kind: 'string', required: true, description: 'Name of the vault, or its whole host name.' },
  {
    name: 'endpoint',
    kind: 'string',
    description: 'Address in place of https://<vaultName>.vault.azure.net, for services of the same protocol. Ours, not in Dapr.',
  },
  environmentField,
  ...entraFields,
]

const SUFFIXES: Readonly<Record<Cloud, string>> = {
  AzurePublic: 'vault.azure.net',
  AzureChina: 'vault.azure.cn',
  AzureUSGovernment: 'vault.usgovcloudapi.net',
}
const VERSION = '7.4'
/** Further tries, the pause before the first (doubled after each, with jitter) and its bound; milliseconds. */
const RETRIES = 3
const PAUSE = 800
const LONGEST = 30_000
/** Bytes of one reply. */
const LIMIT = 8 << 20

/** What the vault answers instead of a result. */
export class VaultError extends Error {
  override readonly name = 'VaultError'
  /** e.g. `SecretNotFound`. */
  readonly code: string
  readonly status: number

  constructor(what: string, { status, reason, body }: WholeReply) {
    let found: { code?: unknown; message?: unknown } | undefined
    try {
      found = (JSON.parse(body.toString()) as { error?: typeof found }).error
    } catch {
      // Not Key Vault's words.
    }
    const code = typeof found?.code === 'string' ? found.code : 'UnknownError'
    super(`${what}: status ${status}, ${code}: ${String(found?.message ?? reason).split('\n')[0]}`)
    this.code = code
    this.status = status
  }
}

/** Requests to one vault, signed in by Entra ID, and repeated where that may help. Errors are VaultError, or say that nobody answers. */
export class VaultClient implements AsyncDisposable {
  readonly #base: URL
  readonly #entra: Entra
  readonly #http = new HttpClient({ connections: 8, silenceTimeout: 60_000 })

  constructor(properties: Readonly<Record<string, string>>) {
    const values = parseMetadata(vaultFields, properties)
    let name = String(values.vaultName)
    let cloud = cloudOf(values)
    for (const [other, suffix] of Object.entries(SUFFIXES) as [Cloud, string][]) {
      if (!name.endsWith(`.${suffix}`)) continue
      name = name.slice(0, -suffix.length - 1).replace(/^https:\/\//, '')
      cloud = other
    }
    const base = String(values.endpoint ?? `https://${name}.${SUFFIXES[cloud]}`).replace(/\/+$/, '')
    if (!URL.canParse(base) || !/^https?:/.test(base))
      throw new MetadataError(`metadata field ${values.endpoint ? 'endpoint' : 'vaultName'}: "${base}" is no address of a vault`)
    this.#base = new URL(base)
    this.#entra = new Entra({ ...readEntra(values), cloud }, `https://${SUFFIXES[cloud]}`)
  }

  /** Signs in. */
  async open(signal: AbortSignal): Promise<void> {
    await this.#entra.token(signal)
  }

  /** `path` with query and without API version, percent-encoded; or the URL of a page, as the vault gave it. */
  async send(method: string, path: string, body?: Record<string, unknown>, signal?: AbortSignal): Promise<Record<string, unknown>> {
    const what = `${method} ${this.#base.host}${path.split('?')[0]}`
    let renewed = false
    for (let attempt = 0; ; attempt++) {
      let wait = Math.min(LONGEST, PAUSE * 2 ** attempt) * (0.5 + Math.random() / 2)
      try {
        const reply = await this.#once(method, path, body, signal)
        if (reply.status >= 200 && reply.status < 300) return JSON.parse(reply.body.toString() || '{}') as Record<string, unknown>
        if (reply.status === 401 && !renewed) {
          renewed = true
          this.#entra.drop()
          wait = 0
        } else if (attempt >= RETRIES || !(reply.status >= 500 || reply.status === 429 || reply.status === 408))
          throw new VaultError(what, reply)
        const asked = Number(reply.headers['retry-after'])
        if (asked > 0) wait = Math.min(LONGEST, asked * 1000)
      } catch (error) {
        if (error instanceof VaultError || signal?.aborted || attempt >= RETRIES || !isUnreachable(error)) throw error
      }
      await pause(wait, undefined, { signal })
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#http[Symbol.asyncDispose](), this.#entra[Symbol.asyncDispose]()])
  }

  async #once(method: string, path: string, body: unknown, signal: AbortSignal | undefined): Promise<WholeReply> {
    const text = body === undefined ? undefined : JSON.stringify(body)
    const headers: Record<string, string> = { authorization: `Bearer ${await this.#entra.token(signal)}`, accept: 'application/json' }
    if (text !== undefined)
      Object.assign(headers, { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(text)) })
    const tooLarge = () => new Error(`the vault's answer is larger than ${LIMIT} bytes`)
    const versioned = path.includes('api-version=') ? path : `${path}${path.includes('?') ? '&' : '?'}api-version=${VERSION}`
    try {
      return await this.#http.request({ method, url: this.#base, path: versioned, headers, body: text, signal, limit: LIMIT, tooLarge })
    } catch (error) {
      if (signal?.aborted) throw error
      throw new Error(`no answer of ${this.#base.host}: ${messageOf(error)}`, { cause: error })
    }
  }
}

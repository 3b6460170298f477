import { setTimeout as pause } from 'node:timers/promises'
import { messageOf } from '../../errors.ts'
import { HttpClient, type WholeReply } from '../../transport/http1/client.ts'
import { isUnreachable } from '../unreachable.ts'
import { CosmosError } from './cosmos-error.ts'
import { entraAuthorization, masterKeySignature } from './cosmos-key.ts'
import { CosmosSession } from './cosmos-session.ts'
import type { CosmosSettings } from './cosmos-settings.ts'

export interface CosmosRequest {
  method: 'GET' | 'POST' | 'DELETE'
  /** Kind of resource, which is signed. */
  type: 'dbs' | 'colls' | 'docs'
  /** Path of the resource, or of where it is made, as it is before percent-encoding; signed. */
  link: string
  /** What is asked for, percent-encoded. */
  path: string
  headers?: Readonly<Record<string, string>>
  body?: string
  /** Doing it twice is as doing it once: it is repeated when nobody knows whether it was done. */
  repeatable: boolean
  /** Reads what this client wrote, as far as the account's consistency allows. */
  session?: boolean
}

const VERSION = '2020-11-05'
/** Milliseconds for a call with all its tries, which is daprd's limit, too. */
const LIMIT = 20_000
const LARGEST = 16 << 20
const CONNECTIONS = 64
/** Tries of what is throttled, and of what fails otherwise; the pause before the second (doubled after each, with jitter), milliseconds. */
const THROTTLED = 10
const TRIES = 4
const PAUSE = 100
/** Not done for sure: throttled, two writers at once, no replica. */
const REFUSED: ReadonlySet<number> = new Set([429, 449, 503])
/** Done or not: nobody knows. */
const UNKNOWN: ReadonlySet<number> = new Set([408, 410, 500, 502, 504])

/**
 * Requests to one account, signed, and repeated where that may help. Errors are CosmosError, or say that nobody answers.
 * Microsoft's client (`@azure/cosmos`) costs 26 MiB idle, 40 on disk, and two to four times the CPU of a save or read.
 */
export class CosmosClient implements AsyncDisposable {
  readonly #settings: CosmosSettings
  readonly #session = new CosmosSession()
  readonly #http = new HttpClient({ connections: CONNECTIONS, silenceTimeout: LIMIT })

  constructor(settings: CosmosSettings) {
    this.#settings = settings
  }

  async send(request: CosmosRequest, signal?: AbortSignal): Promise<WholeReply> {
    const { url, entra } = this.#settings
    const what = `${request.method} ${url.host} ${request.link}`
    const end = Date.now() + LIMIT
    let renewed = false
    for (let attempt = 1; ; attempt++) {
      let wait = PAUSE * 2 ** (attempt - 1) * (0.5 + Math.random() / 2)
      try {
        const reply = await this.#once(request, signal)
        const token = reply.headers['x-ms-session-token']
        if (typeof token === 'string') this.#session.learn(token)
        const { status } = reply
        if (status >= 200 && status < 300) return reply
        if (status === 401 && entra && !renewed) {
          renewed = true
          entra.drop()
          continue
        }
        const asked = Number(reply.headers['x-ms-retry-after-ms'])
        if (asked > 0) wait = asked
        if (!mayPass(reply, request, attempt) || Date.now() + wait >= end) throw new CosmosError(what, reply)
      } catch (error) {
        if (error instanceof CosmosError || signal?.aborted) throw error
        const again = attempt < TRIES && Date.now() + wait < end && (request.repeatable || neverArrived(error))
        if (!again || !isUnreachable(error)) throw new Error(`${what}: no answer of ${url.host}: ${messageOf(error)}`, { cause: error })
      }
      await pause(wait, undefined, { signal })
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#http[Symbol.asyncDispose](), this.#settings.entra?.[Symbol.asyncDispose]()])
  }

  async #once({ method, type, link, path, headers, body, session }: CosmosRequest, signal: AbortSignal | undefined): Promise<WholeReply> {
    const { url, key, entra } = this.#settings
    const date = new Date().toUTCString()
    const sent: Record<string, string> = { accept: 'application/json', 'x-ms-date': date, 'x-ms-version': VERSION, ...headers }
    if (body !== undefined) {
      sent['content-type'] ??= 'application/json'
      sent['content-length'] = String(Buffer.byteLength(body))
    }
    const token = session ? this.#session.token : undefined
    if (token !== undefined) sent['x-ms-session-token'] = token
    if (key) sent.authorization = masterKeySignature(method, type, link, date, key)
    else if (entra) sent.authorization = entraAuthorization(await entra.token(signal))
    const tooLarge = () => new Error(`the answer is larger than ${LARGEST} bytes`)
    return this.#http.request({ method, url, path, headers: sent, body, signal, limit: LARGEST, tooLarge })
  }
}

function mayPass({ status, headers }: WholeReply, { repeatable }: CosmosRequest, attempt: number): boolean {
  if (status === 429) return attempt < THROTTLED
  if (attempt >= TRIES) return false
  const substatus = headers['x-ms-substatus']
  // A replica that has not what the session has seen; a region that no longer takes writes, until the account's name points to the next.
  if ((status === 404 && substatus === '1002') || (status === 403 && substatus === '3')) return true
  return REFUSED.has(status) || (repeatable && UNKNOWN.has(status))
}

function neverArrived(error: unknown): boolean {
  return error instanceof Error && /ECONNREFUSED|ENOTFOUND|EAI_AGAIN/.test(`${(error as NodeJS.ErrnoException).code} ${error.message}`)
}

import { messageOf } from '../../../errors.ts'
import { HttpClient, type WholeReply } from '../../../transport/http1/client.ts'
import { parseXml, textIn } from '../../aws/xml.ts'
import type { EntityProperties } from './settings.ts'

const VERSION = '2021-05'
const LIMIT = 1 << 20
const NAMESPACE = 'http://schemas.microsoft.com/netservices/2010/10/servicebus/connect'
/** Entities that are known to be there; the one that was seen first goes first, and is asked for again. */
const KNOWN = 10_000

export interface AdminOptions {
  /** Undefined: entities are not looked after. */
  base: URL | undefined
  /** For the header `Authorization`. */
  authorization(resource: string, signal: AbortSignal): Promise<string>
  properties: EntityProperties
  /** Limit for one request, milliseconds. */
  timeout: number
}

/** Makes queues, topics and subscriptions that are not there. https://learn.microsoft.com/rest/api/servicebus/ */
export class Admin implements AsyncDisposable {
  readonly #options: AdminOptions
  readonly #http = new HttpClient({ connections: 2, silenceTimeout: 60_000 })
  readonly #known = new Map<string, Promise<void>>()

  constructor(options: AdminOptions) {
    this.#options = options
  }

  queue(name: string): Promise<void> {
    return this.#once(`queue ${name}`, () => this.#ensure('queue', name, encoded(name), 'QueueDescription', this.#settings(false)))
  }

  topic(name: string): Promise<void> {
    return this.#once(`topic ${name}`, () => this.#ensure('topic', name, encoded(name), 'TopicDescription', ''))
  }

  /** Rejects also when it is there and takes sessions, or does not, other than asked. */
  async subscription(name: string, topic: string, sessions: boolean): Promise<void> {
    await this.topic(topic)
    await this.#once(`subscription ${topic}/${name} ${sessions}`, async () => {
      const path = `${encoded(topic)}/Subscriptions/${encoded(name)}`
      const found = await this.#ensure('subscription', name, path, 'SubscriptionDescription', this.#settings(sessions))
      if (found !== undefined && (textIn(found, 'RequiresSession') === 'true') !== sessions)
        throw new Error(`subscription ${name} already exists but session requirement doesn't match`)
    })
  }

  /** It may be gone: it is looked for the next time. */
  forget(): void {
    this.#known.clear()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#http[Symbol.asyncDispose]()
  }

  #once(key: string, work: () => Promise<unknown>): Promise<void> {
    if (this.#options.base === undefined) return Promise.resolve()
    const known = this.#known.get(key)
    if (known) return known
    const doing = work().then(() => {})
    this.#known.set(key, doing)
    doing.catch(() => this.#known.delete(key))
    if (this.#known.size > KNOWN) this.#known.delete(this.#known.keys().next().value as string)
    return doing
  }

  /** What is there already, or undefined when it was made. */
  async #ensure(
    kind: string,
    name: string,
    path: string,
    element: string,
    settings: string,
  ): Promise<ReturnType<typeof parseXml> | undefined> {
    const fail = (what: string) => (error: unknown) => {
      throw new Error(`could not ${what} ${kind} ${name}: ${messageOf(error)}`, { cause: error })
    }
    const found = await this.#send('GET', path).catch(fail('get'))
    // What is not there is a 404, or a feed without entries.
    if (found.status !== 404) {
      if (found.status !== 200) fail('get')(new Error(wordsOf(found)))
      const text = found.body.toString()
      if (/<entry[\s>]/.test(text)) return parseXml(text)
    }
    const description = `<${element} xmlns="${NAMESPACE}">${settings}</${element}>`
    const body = `<?xml version="1.0" encoding="utf-8"?><entry xmlns="http://www.w3.org/2005/Atom"><content type="application/xml">${description}</content></entry>`
    const made = await this.#send('PUT', path, body).catch(fail('create'))
    // 409: another sidecar was faster.
    if (made.status !== 200 && made.status !== 201 && made.status !== 409) fail('create')(new Error(wordsOf(made)))
    return undefined
  }

  /** In the order of the service's schema, which it insists on. */
  #settings(sessions: boolean): string {
    const { lockDuration, timeToLive, maxDeliveryCount, autoDelete } = this.#options.properties
    const seconds = (name: string, value: number | undefined) => (value === undefined ? '' : `<${name}>PT${value}S</${name}>`)
    return [
      seconds('LockDuration', lockDuration),
      sessions ? '<RequiresSession>true</RequiresSession>' : '',
      seconds('DefaultMessageTimeToLive', timeToLive),
      maxDeliveryCount === undefined ? '' : `<MaxDeliveryCount>${maxDeliveryCount}</MaxDeliveryCount>`,
      seconds('AutoDeleteOnIdle', autoDelete),
    ].join('')
  }

  async #send(method: string, path: string, body?: string): Promise<WholeReply> {
    const { base, authorization, timeout } = this.#options
    const url = new URL(`/${path}?api-version=${VERSION}`, base)
    const signal = AbortSignal.timeout(timeout)
    const headers: Record<string, string> = {
      authorization: await authorization(`${url.origin}/${path}`, signal),
      accept: 'application/xml',
    }
    if (body !== undefined)
      Object.assign(headers, {
        'content-type': 'application/atom+xml;type=entry;charset=utf-8',
        'content-length': String(Buffer.byteLength(body)),
      })
    const tooLarge = () => new Error(`${url.host} answered with more than 1 MiB`)
    try {
      return await this.#http.request({ method, url, headers, body, signal, limit: LIMIT, tooLarge })
    } catch (error) {
      throw new Error(`no answer of ${url.host}: ${messageOf(error)}`, { cause: error })
    }
  }
}

/** Slashes are part of names. */
function encoded(name: string): string {
  return name.split('/').map(encodeURIComponent).join('/')
}

function wordsOf({ status, reason, body }: WholeReply): string {
  let detail: string | undefined
  try {
    detail = textIn(parseXml(body.toString()), 'Detail')
  } catch {
    // No words of Azure.
  }
  return `status ${status}: ${(detail ?? reason).split(/ TrackingId|\n/)[0]}`
}

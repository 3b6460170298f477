import type { Middleware, MiddlewareReply, MiddlewareRequest } from '../../../blocks/middleware/driver.ts'
import { messageOf, OutriderError } from '../../../errors.ts'
import { STATUS_CODES } from '../../../transport/node-http.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { isTruthy, MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'
import { Fetcher } from '../fetch.ts'
import { plainPath } from '../pattern.ts'

const metadata: readonly MetadataField[] = [
  {
    name: 'opaServer',
    kind: 'string',
    required: true,
    description: 'Of our own: URL of the OPA server that decides, e.g. http://127.0.0.1:8181. daprd evaluates within itself.',
  },
  {
    name: 'rego',
    kind: 'string',
    description:
      'The policy, in a package that sets `allow`; put to the server at start under the name outrider/APP/COMPONENT. Without it the server brings its own.',
  },
  { name: 'opaPath', kind: 'string', default: 'http/allow', description: 'Of our own: path of the decision below `data`.' },
  {
    name: 'defaultStatus',
    kind: 'int',
    min: 100,
    max: 599,
    default: '403',
    description: 'Status of refusals for which the policy names none.',
  },
  { name: 'includedHeaders', kind: 'string', description: 'Names of the request headers that the policy sees, with commas between.' },
  {
    name: 'readBody',
    kind: 'string',
    default: 'false',
    description: 'Whether the policy sees the body, of at most 4 MiB; longer ones are refused with 413.',
  },
]

/** Bytes of a body that a policy is shown. */
const MAX_BODY = 4 * 1024 * 1024

interface Decision {
  allow?: unknown
  status_code?: unknown
  additional_headers?: unknown
}

/** A decision of a policy as Dapr reads it: a boolean, or an object with `allow`. */
class Opa implements Middleware {
  readonly #context: ComponentContext
  readonly #fetcher = new Fetcher()
  readonly #server: string
  readonly #url: string
  readonly #rego: string
  readonly #status: number
  readonly #readBody: boolean
  readonly #headers: readonly string[]

  constructor(context: ComponentContext) {
    const values = parseMetadata(metadata, context.properties)
    this.#readBody = isTruthy(String(values.readBody))
    this.#context = context
    this.#server = String(values.opaServer).replace(/\/$/, '')
    if (!URL.canParse(this.#server))
      throw new MetadataError(`metadata field opaServer: "${this.#server}" is no URL such as http://127.0.0.1:8181`)
    this.#url = `${this.#server}/v1/data/${String(values.opaPath).replace(/^\/|\/$/g, '')}`
    this.#rego = String(values.rego ?? '')
    this.#status = Number(values.defaultStatus)
    this.#headers = String(values.includedHeaders ?? '')
      .split(',')
      .map((name) => name.replaceAll(' ', ''))
      .filter((name) => name !== '')
      .map((name) => name.toLowerCase().replace(/(^|-)[a-z]/g, (first) => first.toUpperCase()))
  }

  async init(signal: AbortSignal): Promise<void> {
    const { appId, name } = this.#context
    const put = this.#rego !== ''
    const url = put
      ? `${this.#server}/v1/policies/outrider/${encodeURIComponent(appId)}/${encodeURIComponent(name)}`
      : `${this.#server}/health`
    let reply: { status: number; body: string }
    try {
      reply = await this.#fetcher.fetch({
        method: put ? 'PUT' : 'GET',
        url,
        signal,
        ...(put && { body: this.#rego, headers: { 'content-type': 'text/plain' } }),
      })
    } catch (error) {
      throw new Error(`the OPA server ${this.#server} cannot be asked: ${messageOf(error)}; start it with: opa run --server`)
    }
    if (reply.status !== 200)
      throw new Error(`the OPA server ${this.#server} refused the policy with ${reply.status}: ${reply.body.slice(0, 500)}`)
  }

  async handle(passing: MiddlewareRequest): Promise<MiddlewareReply | undefined> {
    let decision: unknown
    let body = ''
    if (this.#readBody) {
      try {
        body = (await passing.readBody(MAX_BODY)).toString()
      } catch (error) {
        this.#context.log.warn(`the body of a request cannot be shown to the policy: ${messageOf(error)}`)
        return this.#refuse(error instanceof OutriderError ? error.http : 400, { 'x-dapr-opa-error': 'true' })
      }
    }
    try {
      decision = await this.#decide(passing, body)
    } catch (error) {
      this.#context.log.warn(`Error procesing rego policy: ${messageOf(error)}`)
      return this.#refuse(this.#status, { 'x-dapr-opa-error': 'true' })
    }
    if (typeof decision === 'boolean') return decision ? undefined : this.#refuse(this.#status)
    const { allow, status_code: status = this.#status, additional_headers: more = {} } = decision as Decision
    const headers = Object.fromEntries(Object.entries(more as object).map(([name, value]) => [name.toLowerCase(), String(value)]))
    if (allow !== true) return this.#refuse(Number(status), headers)
    for (const [name, value] of Object.entries(headers)) passing.setHeader(name, value)
    return undefined
  }

  async #decide(passing: MiddlewareRequest, body: string): Promise<boolean | Decision> {
    const path = plainPath(passing.path)
    const parameters = new URLSearchParams(passing.query)
    const query = Object.fromEntries([...parameters.keys()].map((name) => [name, parameters.getAll(name)]))
    const headers: Record<string, string> = {}
    for (const name of this.#headers) {
      const value = passing.header(name)
      if (value !== undefined) headers[name] = value
    }
    const request = {
      method: passing.method,
      path,
      path_parts: path.replace(/^\/+|\/+$/g, '').split('/'),
      raw_query: passing.query,
      query,
      headers,
      scheme: '',
      body,
    }
    const reply = await this.#fetcher.fetch({
      method: 'POST',
      url: this.#url,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ input: { request } }),
    })
    if (reply.status !== 200) throw new Error(`the OPA server answered ${reply.status}`)
    const { result } = JSON.parse(reply.body) as { result?: unknown }
    if (result === undefined) throw new Error('received no results back from rego policy. Are you setting data.http.allow?')
    if (typeof result === 'boolean') return result
    if (typeof result !== 'object' || result === null || Array.isArray(result))
      throw new Error('got an invalid type back from repo policy. Only a boolean or map is valid')
    return result as Decision
  }

  #refuse(status: number, headers: Record<string, string> = {}): MiddlewareReply {
    const text = STATUS_CODES[status]
    return { status: text ? status : 500, headers, body: text ?? 'Internal Server Error' }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#fetcher[Symbol.asyncDispose]()
  }
}

export const driver: DriverModule<Middleware> = {
  summary: 'Asks an OPA server whether a request may pass, by a policy in Rego.',
  metadata,
  create: (context) => new Opa(context),
}

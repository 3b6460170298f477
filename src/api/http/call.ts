import type { IncomingMessage, ServerResponse } from 'node:http'
import { type BodyBudget, HeldBody } from '../../transport/body-budget.ts'
import { readBody } from './body.ts'
import type { Call, Handler, Reply, Route } from './route.ts'
import type { Found } from './router.ts'

const NO_PARAMS = {}

/** One request that has found its handler. */
export class HttpCall implements Call {
  readonly request: IncomingMessage
  readonly path: string
  readonly rawQuery: string
  readonly params: Record<string, string>
  /** undefined: the fallback's. */
  readonly route: Route | undefined
  readonly #response: ServerResponse
  readonly #handler: Handler
  readonly #limit: number
  readonly #bodies: BodyBudget | undefined
  #traceparent: string | undefined
  #query: URLSearchParams | undefined
  #abort: AbortController | undefined

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    handler: Handler,
    path: string,
    rawQuery: string,
    found: Found | undefined,
    limit: number,
    traceparent: string | undefined,
    bodies: BodyBudget | undefined,
  ) {
    this.request = request
    this.path = path
    this.rawQuery = rawQuery
    this.params = found?.params ?? NO_PARAMS
    this.route = found?.route
    this.#response = response
    this.#handler = handler
    this.#limit = limit
    this.#bodies = bodies
    this.#traceparent = traceparent
  }

  run(): Reply | undefined | Promise<Reply | undefined> {
    return this.#handler(this)
  }

  get method(): string {
    return this.request.method as string
  }

  /** A handler that answers by itself finds the trace set; a reply gets it with its other headers, which costs less. */
  get response(): ServerResponse {
    const traceparent = this.takeTraceparent()
    if (traceparent !== undefined) this.#response.setHeader('traceparent', traceparent)
    return this.#response
  }

  /** The header that the reply must carry; undefined when it has it already. */
  takeTraceparent(): string | undefined {
    const traceparent = this.#traceparent
    this.#traceparent = undefined
    return traceparent
  }

  get headers() {
    return this.request.headers
  }

  get query(): URLSearchParams {
    this.#query ??= new URLSearchParams(this.rawQuery)
    return this.#query
  }

  metadata(): Record<string, string> {
    const found: Record<string, string> = {}
    if (!this.rawQuery.includes('metadata.')) return found
    for (const [name, value] of this.query) {
      const key = name.slice(9)
      if (name.startsWith('metadata.') && !Object.hasOwn(found, key)) found[key] = value
    }
    return found
  }

  body(): Promise<Buffer> {
    if (this.request.headers.expect === '100-continue') this.#response.writeContinue()
    return readBody(this.request, this.#limit, this.#bodies && this.#hold)
  }

  /** What is read counts until the answer is out. */
  readonly #hold = (): HeldBody => {
    const held = new HeldBody(this.#bodies as BodyBudget)
    this.#response.once('close', () => held.release())
    return held
  }

  /** Made on demand: most handlers never ask. */
  get signal(): AbortSignal {
    if (!this.#abort) {
      const abort = new AbortController()
      this.#abort = abort
      const response = this.#response
      response.once('close', () => {
        if (!response.writableFinished) abort.abort(new Error('the client went away'))
      })
    }
    return this.#abort.signal
  }
}

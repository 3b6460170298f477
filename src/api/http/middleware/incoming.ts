import type { IncomingMessage, ServerResponse } from 'node:http'
import { PassThrough, type Transform } from 'node:stream'
import { type Pipeline, PLAIN } from '../../../app/middleware/pipeline.ts'
import { chained, TextMapper, TextMapStream } from '../../../app/middleware/text-map.ts'
import type { MiddlewareRequest, TextMap } from '../../../blocks/middleware/driver.ts'
import { readBody } from '../body.ts'
import { writeReply } from '../reply.ts'

/** A request of the API as the pipeline has left it. */
export interface Passed {
  request: IncomingMessage
  path: string
  query: string
}

/** Runs a request through the pipeline; undefined when a middleware has answered it. */
export async function pass(
  pipeline: Pipeline,
  request: IncomingMessage,
  response: ServerResponse,
  path: string,
  query: string,
): Promise<Passed | undefined> {
  const incoming = new IncomingRequest(request, response, path, query)
  const reply = await pipeline.run(incoming)
  if (reply) {
    writeReply(response, { ...reply, headers: { 'content-type': PLAIN, ...reply.headers } })
    request.resume()
    return undefined
  }
  if (incoming.replyMap) mapReply(response, incoming.replyMap)
  return { request: incoming.passed, path: incoming.path, query: incoming.query }
}

class IncomingRequest implements MiddlewareRequest {
  readonly #request: IncomingMessage
  readonly #response: ServerResponse
  path: string
  query: string
  #bodyMap: TextMap | undefined
  #body: Promise<Buffer> | undefined
  #held: Buffer | undefined
  replyMap: TextMap | undefined

  constructor(request: IncomingMessage, response: ServerResponse, path: string, query: string) {
    this.#request = request
    this.#response = response
    this.path = path
    this.query = query
  }

  get method(): string {
    return this.#request.method as string
  }

  get remoteAddress(): string | undefined {
    return this.#request.socket.remoteAddress
  }

  header(name: string): string | undefined {
    const value = this.#request.headers[name.toLowerCase()]
    return Array.isArray(value) ? value[0] : value
  }

  setHeader(name: string, value: string): void {
    const lower = name.toLowerCase()
    const { rawHeaders } = this.#request
    this.#request.headers[lower] = value
    // Invocation passes the raw list on.
    for (let i = rawHeaders.length - 2; i >= 0; i -= 2) if (rawHeaders[i]?.toLowerCase() === lower) rawHeaders.splice(i, 2)
    rawHeaders.push(name, value)
  }

  readBody(limit: number): Promise<Buffer> {
    this.#body ??= readBody(this.#request, limit)
    return this.#body.then((body) => {
      if (!this.#held) {
        this.#held = this.#bodyMap ? Buffer.from(this.#bodyMap(body.toString())) : body
        this.#bodyMap = undefined
      }
      return this.#held
    })
  }

  mapBody(map: TextMap): void {
    if (this.#held) this.#held = Buffer.from(map(this.#held.toString()))
    else this.#bodyMap = chained(this.#bodyMap, map)
  }

  /** What the receiver gets. */
  get passed(): IncomingMessage {
    if (this.#held) return heldBody(this.#request, this.#held)
    return this.#bodyMap ? mapBody(this.#request, this.#bodyMap) : this.#request
  }

  onEnd(done: (status: number) => void): void {
    const response = this.#response
    response.once('close', () => done(response.writableEnded ? response.statusCode : 0))
  }

  mapReply(map: TextMap): void {
    // Replies pass the steps in the opposite order.
    const inner = this.replyMap
    this.replyMap = inner ? chained(map, inner) : map
  }
}

/** What handlers ask of a request. */
const SHOWN = ['headers', 'rawHeaders', 'method', 'url', 'httpVersion', 'httpVersionMajor', 'socket', 'stream'] as const

/** The request with another body. */
function withBody(request: IncomingMessage, body: Transform): IncomingMessage {
  for (const name of SHOWN) Object.defineProperty(body, name, { get: () => (request as IncomingMessage & { stream?: unknown })[name] })
  // Whether all of it is here.
  Object.defineProperty(body, 'complete', { get: () => body.writableFinished })
  return body as unknown as IncomingMessage
}

function mapBody(request: IncomingMessage, map: TextMap): IncomingMessage {
  const mapped = new TextMapStream(map)
  request.once('error', (error) => mapped.destroy(error))
  request.once('close', () => request.complete || mapped.destroy(new Error('the request body broke off')))
  return withBody(request, request.pipe(mapped))
}

function heldBody(request: IncomingMessage, body: Buffer): IncomingMessage {
  const held = new PassThrough()
  held.end(body)
  return withBody(request, held)
}

/** Sends what is written to the response through the map. */
function mapReply(response: ServerResponse, map: TextMap): void {
  const mapper = new TextMapper(map)
  const write = response.write.bind(response) as (chunk: Buffer, done?: () => void) => boolean
  const end = response.end.bind(response) as (chunk?: Buffer, done?: () => void) => ServerResponse
  const bytes = (chunk: unknown): Buffer => (typeof chunk === 'string' ? Buffer.from(chunk) : Buffer.from(chunk as Uint8Array))
  response.write = ((chunk: unknown, ...rest: unknown[]) => write(mapper.push(bytes(chunk)), callback(rest))) as never
  response.end = ((...given: unknown[]) => {
    const chunk = typeof given[0] === 'function' ? undefined : given[0]
    const last = chunk === undefined || chunk === null ? mapper.end() : Buffer.concat([mapper.push(bytes(chunk)), mapper.end()])
    return last.length > 0 ? end(last, callback(given)) : end(undefined, callback(given))
  }) as never
}

function callback(given: readonly unknown[]): (() => void) | undefined {
  return given.find((one) => typeof one === 'function') as (() => void) | undefined
}

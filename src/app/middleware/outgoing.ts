import { Readable } from 'node:stream'
import type { MiddlewareReply, MiddlewareRequest, TextMap } from '../../blocks/middleware/driver.ts'
import { Code, OutriderError } from '../../errors.ts'
import type { SinkRequest } from '../http-channel.ts'
import type { ResponseSink, ResponseSource } from '../response-sink.ts'
import { type Pipeline, PLAIN } from './pipeline.ts'
import { chained, TextMapper, TextMapStream } from './text-map.ts'

/** A request to the app as middleware sees and changes it. */
class OutgoingRequest implements MiddlewareRequest {
  readonly method: string
  readonly remoteAddress = undefined
  path: string
  query: string
  #body: SinkRequest['body']
  readonly #headers: string[]
  #bodyMap: TextMap | undefined
  #replyMap: TextMap | undefined
  #onEnd: ((status: number) => void)[] = []

  constructor(request: SinkRequest) {
    const mark = request.path.indexOf('?')
    this.method = request.method
    this.path = mark < 0 ? request.path : request.path.slice(0, mark)
    this.query = mark < 0 ? '' : request.path.slice(mark + 1)
    this.#body = request.body
    const { headers } = request
    this.#headers = Array.isArray(headers) ? [...headers] : Object.entries(headers).flatMap(([name, value]) => pairs(name, value))
  }

  header(name: string): string | undefined {
    for (let i = 0; i < this.#headers.length; i += 2)
      if (this.#headers[i]?.toLowerCase() === name.toLowerCase()) return this.#headers[i + 1]
    return undefined
  }

  setHeader(name: string, value: string): void {
    for (let i = this.#headers.length - 2; i >= 0; i -= 2)
      if (this.#headers[i]?.toLowerCase() === name.toLowerCase()) this.#headers.splice(i, 2)
    this.#headers.push(name, value)
  }

  async readBody(limit: number): Promise<Buffer> {
    const body = this.#bodyMap ? mapped(this.#body, this.#bodyMap) : this.#body
    this.#bodyMap = undefined
    const whole = body instanceof Readable ? await collected(body, limit) : (body ?? Buffer.alloc(0))
    if (whole.length > limit) throw tooLong(limit)
    if (body !== undefined) this.#body = whole
    return whole
  }

  mapBody(map: TextMap): void {
    this.#bodyMap = chained(this.#bodyMap, map)
  }

  onEnd(done: (status: number) => void): void {
    this.#onEnd.push(done)
  }

  /** The request is over. */
  end(status: number): void {
    const waiting = this.#onEnd
    this.#onEnd = []
    for (const done of waiting) done(status)
  }

  mapReply(map: TextMap): void {
    // Replies pass the steps in the opposite order.
    const inner = this.#replyMap
    this.#replyMap = inner ? chained(map, inner) : map
  }

  /** The request as it is now. */
  get request(): SinkRequest {
    return {
      method: this.method,
      path: this.query ? `${this.path}?${this.query}` : this.path,
      headers: this.#headers,
      body: this.#bodyMap ? mapped(this.#body, this.#bodyMap) : this.#body,
    }
  }

  sink(sink: ResponseSink): ResponseSink {
    const mapped = this.#replyMap ? new MappedSink(sink, this.#replyMap) : sink
    return this.#onEnd.length > 0 ? watched(mapped, (status) => this.end(status)) : mapped
  }
}

function pairs(name: string, value: unknown): string[] {
  if (value === undefined) return []
  return Array.isArray(value) ? value.flatMap((one) => [name, String(one)]) : [name, String(value)]
}

function tooLong(limit: number): OutriderError {
  return new OutriderError({
    code: 'ERR_BODY_READ',
    http: 413,
    grpc: Code.ResourceExhausted,
    message: `the request body is longer than the ${limit} bytes that middleware may read`,
  })
}

async function collected(body: Readable, limit: number): Promise<Buffer> {
  const parts: Buffer[] = []
  let size = 0
  for await (const part of body as AsyncIterable<Buffer>) {
    size += part.length
    if (size > limit) throw tooLong(limit)
    parts.push(part)
  }
  return Buffer.concat(parts, size)
}

function mapped(body: SinkRequest['body'], map: TextMap): SinkRequest['body'] {
  if (body === undefined) return undefined
  if (body instanceof Readable) {
    const stream = new TextMapStream(map)
    body.once('error', (error) => stream.destroy(error))
    return body.pipe(stream)
  }
  return Buffer.from(map(body.toString()))
}

class MappedSink implements ResponseSink {
  readonly #sink: ResponseSink
  readonly #mapper: TextMapper

  constructor(sink: ResponseSink, map: TextMap) {
    this.#sink = sink
    this.#mapper = new TextMapper(map)
  }

  head(...given: Parameters<ResponseSink['head']>): void {
    this.#sink.head(...given)
  }

  data(chunk: Buffer): void {
    const text = this.#mapper.push(chunk)
    if (text.length > 0) this.#sink.data(text)
  }

  end(): void {
    const rest = this.#mapper.end()
    if (rest.length > 0) this.#sink.data(rest)
    this.#sink.end()
  }

  failed(error: Error): void {
    this.#sink.failed(error)
  }
}

/** Tells the end of a reply. */
function watched(sink: ResponseSink, done: (status: number) => void): ResponseSink {
  let status = 0
  return {
    head(code, headers, source, answer) {
      status = code
      sink.head(code, headers, source, answer)
    },
    data: (chunk) => sink.data(chunk),
    end() {
      done(status)
      sink.end()
    },
    failed(error) {
      done(0)
      sink.failed(error)
    },
  }
}

/** What can be given up. */
interface Given {
  readonly over: boolean
  abort(reason?: Error): void
}

const NOWHERE: ResponseSource = { pause() {}, resume() {}, abort() {} }

/** A request on its way to the app, through the steps of a pipeline first: waiting → sent, or answered here → over. */
export function throughPipeline(
  pipeline: Pipeline,
  wanted: SinkRequest,
  sink: ResponseSink,
  send: (request: SinkRequest, sink: ResponseSink) => Given,
): Given {
  const outgoing = new OutgoingRequest(wanted)
  let sent: Given | undefined
  let over = false
  const go = (reply: MiddlewareReply | undefined) => {
    if (over) return
    if (!reply) {
      sent = send(outgoing.request, outgoing.sink(sink))
      return
    }
    over = true
    outgoing.end(reply.status)
    const body = reply.body === undefined ? undefined : Buffer.from(reply.body)
    const headers = { 'content-type': PLAIN, ...reply.headers, ...(body && { 'content-length': String(body.length) }) }
    sink.head(reply.status, headers, NOWHERE)
    if (body) sink.data(body)
    sink.end()
  }
  const fail = (error: unknown) => {
    if (over) return
    over = true
    outgoing.end(0)
    sink.failed(error instanceof Error ? error : new Error(String(error)))
  }
  try {
    const reply = pipeline.run(outgoing)
    if (reply instanceof Promise) reply.then(go).catch(fail)
    // The caller gets its way to give the call up before it hears of it.
    else if (reply) queueMicrotask(() => go(reply))
    else go(undefined)
  } catch (error) {
    queueMicrotask(() => fail(error))
  }
  return {
    get over() {
      return sent?.over ?? over
    },
    abort(reason) {
      over = true
      sent?.abort(reason)
      outgoing.end(0)
    },
  }
}

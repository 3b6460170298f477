import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import { type Readable, Transform } from 'node:stream'
import type { GrpcAnswer, ResponseSink, ResponseSource } from '../../../app/response-sink.ts'
import { type InvokeBlock, invokeError } from '../../../blocks/invoke/block.ts'
import { Code, OutriderError } from '../../../errors.ts'
import { forwardableHeaders, headerOf, responseHeaders } from '../../../peers/headers.ts'
import { cleanMethod, normalizeMethod } from '../../../peers/invocation.ts'
import { NO_TRACEPARENT } from '../../../telemetry/trace-context.ts'
import { writeChunk } from '../reply.ts'
import type { Call, Handler } from '../route.ts'
import { cleanPath } from '../router.ts'
import { httpReply } from './grpc-reply.ts'

export interface InvokeHandlerOptions {
  /** Bytes of a request body; 0: no limit. Default 4 MiB. */
  maxBodySize?: number
}

/** Bodies up to this size are read first and can be sent again; larger ones stream. */
const BUFFERED = 256 * 1024
const PREFIX = '/v1.0/invoke/'

/**
 * Serves `/v1.0/invoke/*` and, as the fallback of every other path, the forms that name the app in a header.
 * Rejects with ERR_DIRECT_INVOKE, 404 when no form applies.
 */
export function invokeHandler(block: InvokeBlock, options: InvokeHandlerOptions = {}): Handler {
  const limit = options.maxBodySize ?? 4 * 1024 * 1024
  return async (call) => {
    const target = targetOf(call)
    if (!target) {
      throw new OutriderError({
        code: 'ERR_DIRECT_INVOKE',
        http: 404,
        grpc: Code.NotFound,
        message: 'failed getting app id either from the URL path or the header dapr-app-id',
        hint: `no API is at ${call.method} ${call.path}; to call an app use /v1.0/invoke/APP/method/PATH or the header dapr-app-id`,
      })
    }
    const { id } = target
    let method: string
    try {
      // Dots first, as Go's servers have it: what they take away is not looked at.
      method = normalizeMethod(cleanMethod(decode(target.path)))
    } catch (error) {
      throw invokeError(id, error)
    }
    const { headers, contentType, length } = forwardableHeaders(call.request.rawHeaders)
    if (headerOf(headers, 'traceparent') === undefined) headers.push('traceparent', NO_TRACEPARENT)
    const body = await bodyOf(call, id, length, limit)
    const invocation = {
      verb: call.method,
      method,
      query: call.rawQuery,
      headers,
      contentType,
      length: body === undefined ? undefined : Buffer.isBuffer(body) ? body.length : length,
      body,
    }
    await new Promise<void>((resolve, reject) => {
      const { response } = call
      const reply = new HttpReply(response, resolve, reject)
      const cancel = block.invoke(id, invocation, reply)
      response.once('close', () => {
        if (reply.over) return
        cancel(new Error('the client went away'))
        resolve()
      })
      // The client may have left while the body was being read.
      if (response.destroyed) cancel()
    })
    return undefined
  }
}

function targetOf(call: Call): { id: string; path: string } | undefined {
  const byHeader = call.headers['dapr-app-id']
  if (typeof byHeader === 'string' && byHeader !== '') return { id: byHeader, path: call.path }
  const { authorization } = call.headers
  if (authorization !== undefined) {
    const found = /^basic\s+([A-Za-z0-9+/=]+)\s*$/i.exec(authorization)
    const pair = found
      ? Buffer.from(found[1] as string, 'base64')
          .toString()
          .split(':')
      : []
    if (pair.length === 2 && pair[0]?.toLowerCase() === 'dapr-app-id' && pair[1]) return { id: pair[1], path: call.path }
  }
  if (!call.path.startsWith(PREFIX)) return undefined
  const rest = whole(call).slice(PREFIX.length)
  const split = rest.indexOf('/method/')
  // The edge may have taken the slash that ends an empty method.
  if (split < 0) return rest.endsWith('/method') && rest.length > 7 ? { id: decodeId(rest.slice(0, -7)), path: '' } : undefined
  return split === 0 ? undefined : { id: decodeId(rest.slice(0, split)), path: rest.slice(split + 8) }
}

/** Dots in a method may have taken `/method/` with them: then the path as it came counts, and its dots end at the method's root. */
function whole({ path, request }: Call): string {
  if (path.includes('/method/') || path.endsWith('/method')) return path
  const given = (request.url ?? '').split('?', 1)[0] as string
  return given.startsWith(PREFIX) && given.includes('/method/') && cleanPath(given) === path ? given : path
}

/** An app id, or a URL, one of whose slashes a client may have taken away. */
function decodeId(id: string): string {
  const text = id.includes('%') || id.includes('+') ? decode(id.replaceAll('+', ' ')) : id
  return text.startsWith('http') ? text.replace(/^(https?):\/+/, '$1://') : text
}

function decode(path: string): string {
  const plain = path.startsWith('/') ? path.slice(1) : path
  if (!plain.includes('%')) return plain
  try {
    return decodeURIComponent(plain)
  } catch {
    throw new Error(`invalid method: ${JSON.stringify(plain)} is not UTF-8`)
  }
}

/** undefined: there is none. */
async function bodyOf(call: Call, id: string, length: number | undefined, limit: number): Promise<Buffer | Readable | undefined> {
  if (length === 0 || (length === undefined && !mayHaveBody(call.request))) return undefined
  if (length !== undefined && limit > 0 && length > limit) throw tooLarge(id, limit)
  if (length !== undefined && length <= BUFFERED) return call.body()
  // Streaming: the client that asked first is told to go on, as call.body() does.
  if (call.headers.expect === '100-continue') call.response.writeContinue()
  return length === undefined && limit > 0 ? call.request.pipe(new Limit(id, limit)) : call.request
}

function mayHaveBody(request: IncomingMessage): boolean {
  if (request.httpVersionMajor === 1) return request.headers['transfer-encoding'] !== undefined
  return (request as IncomingMessage & { stream?: { endAfterHeaders?: boolean } }).stream?.endAfterHeaders !== true
}

function tooLarge(id: string, limit: number): OutriderError {
  const { code, message } = invokeError(id, new Error('http: request body too large'))
  return new OutriderError({
    code,
    // daprd answers 500; the caller can mend this.
    http: 413,
    grpc: Code.ResourceExhausted,
    message,
    hint: `the body is larger than ${limit} bytes: raise --max-body-size to accept it`,
  })
}

/** Breaks a body of unknown length off where it passes the limit. */
class Limit extends Transform {
  readonly #id: string
  readonly #limit: number
  #size = 0

  constructor(id: string, limit: number) {
    super()
    this.#id = id
    this.#limit = limit
  }

  override _transform(chunk: Buffer, _: BufferEncoding, done: (error: Error | null, chunk?: Buffer) => void): void {
    this.#size += chunk.length
    if (this.#size > this.#limit) done(tooLarge(this.#id, this.#limit))
    else done(null, chunk)
  }
}

/** Writes the app's reply to the client as it comes, no faster than the client takes it. */
class HttpReply implements ResponseSink {
  readonly #response: ServerResponse
  readonly #resolve: () => void
  readonly #reject: (error: Error) => void
  #source: ResponseSource | undefined
  over = false

  constructor(response: ServerResponse, resolve: () => void, reject: (error: Error) => void) {
    this.#response = response
    this.#resolve = resolve
    this.#reject = reject
  }

  head(status: number, headers: IncomingHttpHeaders, source: ResponseSource, answer?: GrpcAnswer): void {
    this.#source = source
    // HTTP/1.1 connections stay open without being told; what Node would say of it is none of the app's headers.
    if (this.#response.req.httpVersion === '1.1') this.#response.removeHeader('connection')
    if (status >= 100 || !answer) return void this.#response.writeHead(status, responseHeaders(headers, true))
    const reply = httpReply(status, headers, answer)
    this.#response.writeHead(reply.status, reply.headers)
    if (reply.body) this.data(reply.body)
  }

  data(chunk: Buffer): void {
    if (writeChunk(this.#response, chunk)) return
    this.#source?.pause()
    this.#response.once('drain', () => this.#source?.resume())
  }

  end(): void {
    this.over = true
    this.#response.end()
    this.#resolve()
  }

  failed(error: Error): void {
    this.over = true
    if (!this.#response.headersSent) return this.#reject(error)
    // The status is out: a broken connection is the only honest end of a cut reply.
    this.#response.destroy()
    this.#resolve()
  }
}

import type { IncomingHttpHeaders } from 'node:http'
import type { GrpcAnswer, ResponseSink, ResponseSource } from '../../app/response-sink.ts'
import { type InvokeBlock, invokeError } from '../../blocks/invoke/block.ts'
import { Code } from '../../errors.ts'
import { callerMetadata } from '../../peers/caller-metadata.ts'
import { normalizeGrpcMethod } from '../../peers/invocation.ts'
import type { GrpcStream } from '../../transport/grpc/server.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
import { httpFailure } from './http-failure.ts'
import { decodeInvokeService, encodeInvokeReply } from './invoke-messages.ts'
import { DAPR, type GrpcMethods } from './method.ts'

/** HTTP's own names: a gRPC caller gets those of an HTTP app's reply with `dapr-` in front. */
const RENAMED = new Set(
  (
    'accept-ranges cache-control content-type content-length cookie date from host keep-alive connection max-forwards origin pragma referer ' +
    'transfer-encoding upgrade via warning accept accept-charset accept-language expect'
  ).split(' '),
)

export interface InvokeMethodsOptions {
  /** Bytes of a reply. Default 4 MiB. */
  maxMessageSize?: number
}

/** InvokeService: calls a method of an app whatever it speaks. Superseded by proxying, yet what many SDKs use. */
export function invokeMethods(block: Pick<InvokeBlock, 'invoke'>, options: InvokeMethodsOptions = {}): GrpcMethods {
  const limit = options.maxMessageSize || 4 * 1024 * 1024
  return [[`${DAPR}InvokeService`, { kind: 'stream', handle: (stream) => new InvokeCall(block, stream, limit).start() }]]
}

/** One call: request → block → head, data, end → one reply or an error, with the app's metadata either way. */
class InvokeCall implements ResponseSink {
  readonly #block: Pick<InvokeBlock, 'invoke'>
  readonly #stream: GrpcStream
  readonly #limit: number
  #request: Buffer | undefined
  #cancel: ((reason?: Error) => void) | undefined
  #source: ResponseSource | undefined
  #status = 0
  #contentType = ''
  #answer: GrpcAnswer | undefined
  #data: Buffer | undefined
  #more: Buffer[] | undefined
  #size = 0

  constructor(block: Pick<InvokeBlock, 'invoke'>, stream: GrpcStream, limit: number) {
    this.#block = block
    this.#stream = stream
    this.#limit = limit
  }

  start(): void {
    const stream = this.#stream
    stream.onMessage = (message) => {
      if (this.#request) stream.fail(new GrpcStatus(Code.Internal, 'grpc: received more than one message for a unary call'))
      else {
        this.#request = message
        stream.received = message.length
      }
    }
    stream.onEnd = () => this.#invoke()
    stream.onClose = (reason) => {
      if (reason) this.#cancel?.(reason)
    }
  }

  #invoke(): void {
    const request = this.#request
    if (!request) return this.#stream.fail(new GrpcStatus(Code.Internal, 'grpc: no message received'))
    try {
      const { id, message } = decodeInvokeService(request)
      nameSpan(this.#stream, id, message.method)
      let method: string
      try {
        method = normalizeGrpcMethod(message.method)
      } catch (error) {
        throw invokeError(id, error)
      }
      const data = message.data.length > 0 ? message.data : undefined
      this.#cancel = this.#block.invoke(
        id,
        {
          verb: message.verb,
          method,
          query: message.query,
          headers: callerMetadata(this.#stream.rawHeaders),
          internal: true,
          contentType: message.contentType,
          typeUrl: message.typeUrl,
          length: data?.length,
          body: data,
        },
        this,
      )
    } catch (error) {
      this.#stream.fail(error)
    }
  }

  head(status: number, headers: IncomingHttpHeaders, source: ResponseSource, answer?: GrpcAnswer): void {
    const stream = this.#stream
    this.#source = source
    this.#status = status
    this.#answer = answer
    this.#contentType = headers['content-type'] ?? ''
    for (const name in headers) {
      const value = headers[name]
      if (value === undefined) continue
      if (answer) {
        if (name !== 'content-type') addHeader(stream, name, value)
      } else if (RENAMED.has(name)) addHeader(stream, `dapr-${name}`, value)
      else if (name !== 'te' && name !== 'trailer' && name !== 'proxy-connection' && !name.startsWith('grpc-'))
        addHeader(stream, name, value)
    }
    tellSpan(stream, headers)
    if (!answer) return stream.setHeader('dapr-http-status', String(status))
    const { trailers } = answer
    for (let i = 0; i < trailers.length; i += 2) {
      const name = trailers[i] as string
      const values: string[] = []
      for (let j = 0; j < trailers.length; j += 2) if (trailers[j] === name) values.push(trailers[j + 1] as string)
      stream.setTrailer(name, values.length === 1 ? (values[0] as string) : values)
    }
  }

  data(chunk: Buffer): void {
    this.#size += chunk.length
    if (this.#size > this.#limit) {
      this.#source?.abort()
      this.#stream.fail(new GrpcStatus(Code.ResourceExhausted, `grpc: received message larger than max (${this.#size} vs. ${this.#limit})`))
    } else if (!this.#data) this.#data = chunk
    else {
      this.#more ??= [this.#data]
      this.#more.push(chunk)
    }
  }

  end(): void {
    const answer = this.#answer
    const data = this.#more ? Buffer.concat(this.#more, this.#size) : this.#data
    if (!answer) {
      const failure = httpFailure(this.#status, data)
      if (failure) return this.#stream.fail(failure)
    } else if (this.#status !== 0)
      return this.#stream.fail(new GrpcStatus(this.#status as Code, answer.message, { details: answer.details }))
    this.#stream.end(encodeInvokeReply(this.#contentType, answer?.typeUrl ?? '', data))
  }

  failed(error: Error): void {
    this.#stream.fail(error)
  }
}

function addHeader(stream: GrpcStream, name: string, value: string | string[]): void {
  if (Array.isArray(value)) for (const one of value) stream.addHeader(name, one)
  else stream.addHeader(name, value)
}

/** As Dapr names it; the method's name alone would say the same of every call. */
function nameSpan({ span }: GrpcStream, appId: string, method: string): void {
  if (!span?.sampled) return
  span.name = `CallLocal/${appId}/${method}`
  Object.assign(span.attributes, { 'rpc.service': 'ServiceInvocation', 'net.peer.name': appId })
}

/** The reply carries the trace, unless the app's own did. */
function tellSpan(stream: GrpcStream, headers: IncomingHttpHeaders): void {
  const { span } = stream
  if (!span || headers.traceparent !== undefined || headers['grpc-trace-bin'] !== undefined) return
  stream.setHeader('traceparent', span.traceparent)
  stream.setHeader('grpc-trace-bin', stream.headers['grpc-trace-bin'] as string)
  if (span.tracestate !== '') stream.setHeader('tracestate', span.tracestate)
}

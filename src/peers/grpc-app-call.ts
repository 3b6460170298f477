import type { IncomingHttpHeaders } from 'node:http'
import type { Readable } from 'node:stream'
import type { GrpcChannel } from '../app/grpc-channel.ts'
import type { ResponseSink, ResponseSource } from '../app/response-sink.ts'
import { Code } from '../errors.ts'
import type { GrpcClientStream, GrpcListener } from '../transport/grpc/client.ts'
import { seal } from '../transport/grpc/frames.ts'
import { GrpcStatus } from '../transport/grpc/status.ts'
import { ProtoReader, ProtoWriter } from '../transport/grpc/wire.ts'
import { appMetadata } from './app-metadata.ts'
import type { Invocation } from './invocation.ts'
import { type InvokeResponse, readInvokeResponse, writeInvokeRequest } from './invoke-message.ts'

const ON_INVOKE = '/dapr.proto.runtime.v1.AppCallback/OnInvoke'
const writer = new ProtoWriter()

/**
 * Calls AppCallback/OnInvoke and gives its answer to the sink, an error of the app as a reply too: a gRPC app that says no
 * has answered. A streamed body is read whole first, at most `limit` bytes. Returns what gives the call up.
 */
export function callGrpcApp(channel: GrpcChannel, invocation: Invocation, limit: number, sink: ResponseSink): (reason?: Error) => void {
  const call = new GrpcAppCall(channel, invocation, sink)
  const { body } = invocation
  if (body === undefined || Buffer.isBuffer(body)) call.send(body)
  else call.collect(body, limit)
  return (reason) => call.abort(reason)
}

class GrpcAppCall implements GrpcListener, ResponseSource {
  readonly #channel: GrpcChannel
  readonly #invocation: Invocation
  readonly #sink: ResponseSink
  #stream: GrpcClientStream | undefined
  #headers: IncomingHttpHeaders = {}
  #reply: InvokeResponse | undefined
  #over = false

  constructor(channel: GrpcChannel, invocation: Invocation, sink: ResponseSink) {
    this.#channel = channel
    this.#invocation = invocation
    this.#sink = sink
  }

  collect(body: Readable, limit: number): void {
    const chunks: Buffer[] = []
    let size = 0
    body.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size <= limit) return void chunks.push(chunk)
      this.#fail(new GrpcStatus(Code.ResourceExhausted, `trying to send message larger than max (${size} vs. ${limit})`))
      body.destroy()
    })
    body.once('end', () => {
      if (!this.#over) this.send(Buffer.concat(chunks, size))
    })
    body.once('error', (error) => this.#fail(error))
  }

  send(data: Buffer | undefined): void {
    writer.reset()
    writeInvokeRequest(writer, this.#invocation, data)
    const message = seal(writer.take(5))
    this.#stream = this.#channel.stream(ON_INVOKE, { headers: appMetadata(this.#invocation) }, this)
    this.#stream.end(message)
  }

  onHeaders(headers: IncomingHttpHeaders, raw: readonly string[]): void {
    // A reply without a body has its status here: these are trailers.
    if (headers['grpc-status'] === undefined) this.#headers = metadataHeaders(raw)
  }

  onMessage(message: Buffer): void {
    try {
      this.#reply = readInvokeResponse(new ProtoReader(message))
    } catch (error) {
      this.#stream?.cancel(GrpcStatus.from(error))
    }
  }

  onClose(status: GrpcStatus | undefined, _: IncomingHttpHeaders, raw: readonly string[] = []): void {
    if (this.#over) return
    this.#over = true
    const reply = this.#reply
    const failure = status ?? (reply ? undefined : new GrpcStatus(Code.Internal, 'the app ended the call without a message'))
    const headers = this.#headers
    if (!failure && reply?.contentType) headers['content-type'] = reply.contentType
    this.#sink.head(failure?.code ?? 0, headers, this, {
      message: failure?.message ?? '',
      details: failure?.details ?? [],
      trailers: metadataList(raw),
      typeUrl: failure ? '' : (reply?.typeUrl ?? ''),
    })
    if (!failure && reply && reply.data.length > 0) this.#sink.data(reply.data)
    this.#sink.end()
  }

  #fail(error: Error): void {
    if (this.#over) return
    this.#over = true
    this.#sink.failed(error)
  }

  pause(): void {
    // The reply is one message, here already.
  }

  resume(): void {}

  abort(reason?: Error): void {
    if (this.#over) return
    this.#over = true
    this.#stream?.cancel(new GrpcStatus(Code.Canceled, reason?.message ?? 'context canceled'))
  }
}

/** What of a reply's headers or trailers is the app's own: not gRPC's fields. */
function metadataList(raw: readonly string[]): string[] {
  const list: string[] = []
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string
    if (name.startsWith(':') || name === 'content-type' || (name.startsWith('grpc-') && name !== 'grpc-trace-bin')) continue
    list.push(name, raw[i + 1] as string)
  }
  return list
}

function metadataHeaders(raw: readonly string[]): IncomingHttpHeaders {
  const headers: Record<string, string | string[]> = {}
  const list = metadataList(raw)
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i] as string
    const before = headers[name]
    const value = list[i + 1] as string
    headers[name] = before === undefined ? value : [before, value].flat()
  }
  return headers as IncomingHttpHeaders
}

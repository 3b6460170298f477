import type { IncomingHttpHeaders } from 'node:http'
import { Code } from '../errors.ts'
import { seal } from '../transport/grpc/frames.ts'
import { type Any, GrpcStatus, readAny } from '../transport/grpc/status.ts'
import { ProtoReader, ProtoWriter } from '../transport/grpc/wire.ts'
import type { Invocation } from './invocation.ts'

/** dapr.proto.internals.v1, by hand: the two messages each invocation between sidecars is made of. */

export const CALL_LOCAL = '/dapr.proto.internals.v1.ServiceInvocation/CallLocal'
export const CALL_LOCAL_STREAM = '/dapr.proto.internals.v1.ServiceInvocation/CallLocalStream'

/** HTTPExtension.Verb by number. */
const VERBS = ['NONE', 'GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH']
const writer = new ProtoWriter()

/** map<string, ListStringValue> from a flat list; one name several times becomes one entry with several values. */
function writeLists(field: number, list: readonly string[]): void {
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i] as string
    let seen = false
    for (let j = 0; j < i && !seen; j += 2) seen = list[j] === name
    if (seen) continue
    const entry = writer.begin(field)
    writer.string(1, name)
    const values = writer.begin(2)
    for (let j = i; j < list.length; j += 2) if (list[j] === name) writer.string(1, list[j + 1] as string, true)
    writer.end(values)
    writer.end(entry)
  }
}

function readList(reader: ProtoReader, into: string[]): void {
  const entry = reader.message()
  let name = ''
  while (entry.next()) {
    if (entry.field === 1) name = entry.string()
    else if (entry.field === 2) {
      const values = entry.message()
      while (values.next()) {
        if (values.field === 1) into.push(name, values.string())
        else values.skip()
      }
    } else entry.skip()
  }
}

function writeRequest(invocation: Invocation, metadata: readonly string[], data: Buffer | undefined): void {
  writer.uint(1, 1)
  writeLists(2, metadata)
  const message = writer.begin(3)
  writer.string(1, invocation.method)
  const any = writer.begin(2)
  if (data) writer.bytes(2, data)
  writer.end(any)
  writer.string(3, invocation.contentType ?? '')
  const extension = writer.begin(4)
  const verb = VERBS.indexOf(invocation.verb)
  writer.uint(1, verb > 0 ? verb : 3)
  writer.string(2, invocation.query)
  writer.end(extension)
  writer.end(message)
}

function writePayload(data: Uint8Array, seq: number): void {
  const payload = writer.begin(2)
  writer.bytes(1, data)
  writer.uint(2, seq)
  writer.end(payload)
}

/** The leading InternalInvokeRequestStream, framed, with the first piece of the body if there is one. */
export function encodeRequestHead(invocation: Invocation, metadata: readonly string[], first: Buffer | undefined): Buffer {
  writer.reset()
  const request = writer.begin(1)
  writeRequest(invocation, metadata, undefined)
  writer.end(request)
  if (first) writePayload(first, 0)
  return seal(writer.take(5))
}

/** InternalInvokeRequest for the unary call, not framed. */
export function encodeRequest(invocation: Invocation, metadata: readonly string[], data: Buffer | undefined): Buffer {
  writer.reset()
  writeRequest(invocation, metadata, data)
  return writer.take()
}

/** A later message of either direction, framed. */
export function encodePayload(data: Uint8Array, seq: number): Buffer {
  writer.reset()
  writePayload(data, seq)
  return seal(writer.take(5))
}

/** What arrives at the callee in the leading message. */
export interface IncomingRequest {
  verb: string | undefined
  method: string
  query: string
  contentType: string
  metadata: string[]
  /** Only of the unary call. */
  data: Buffer | undefined
}

export interface StreamMessage<Head> {
  head: Head | undefined
  payload: { data: Buffer; seq: number } | undefined
}

function invalid(text: string): GrpcStatus {
  return new GrpcStatus(Code.InvalidArgument, `parsing InternalInvokeRequest error: ${text}`)
}

export function decodeRequest(reader: ProtoReader): IncomingRequest {
  const request: IncomingRequest = { verb: undefined, method: '', query: '', contentType: '', metadata: [], data: undefined }
  let hasMessage = false
  while (reader.next()) {
    if (reader.field === 2) readList(reader, request.metadata)
    else if (reader.field === 3) {
      hasMessage = true
      const message = reader.message()
      while (message.next()) {
        if (message.field === 1) request.method = message.string()
        else if (message.field === 2) {
          const any = readAny(message.message())
          request.data = any.value
          if (any.typeUrl && !request.contentType) request.contentType = 'application/x-protobuf'
        } else if (message.field === 3) request.contentType = message.string() || request.contentType
        else if (message.field === 4) {
          const extension = message.message()
          request.verb = 'NONE'
          while (extension.next()) {
            if (extension.field === 1) request.verb = VERBS[extension.uint()] ?? 'NONE'
            else if (extension.field === 2) request.query = extension.string()
            else extension.skip()
          }
        } else message.skip()
      }
    } else reader.skip()
  }
  if (!hasMessage) throw invalid('Message is nil')
  if (request.metadata.length === 0) throw invalid('metadata is empty')
  return request
}

function decodeStream<Head>(message: Buffer, readHead: (reader: ProtoReader) => Head): StreamMessage<Head> {
  const reader = new ProtoReader(message)
  const result: StreamMessage<Head> = { head: undefined, payload: undefined }
  while (reader.next()) {
    if (reader.field === 1) {
      const head = reader.message()
      if (!head.empty) result.head = readHead(head)
    } else if (reader.field === 2) {
      const payload = reader.message()
      const read = { data: NONE, seq: 0 }
      while (payload.next()) {
        if (payload.field === 1) read.data = payload.bytes()
        else if (payload.field === 2) read.seq = payload.uint()
        else payload.skip()
      }
      result.payload = read
    } else reader.skip()
  }
  return result
}

const NONE: Buffer = Buffer.alloc(0)

export function decodeRequestStream(message: Buffer): StreamMessage<IncomingRequest> {
  return decodeStream(message, decodeRequest)
}

function writeResponse(status: number, headers: Record<string, string | string[]>, data: Buffer | undefined): void {
  const head = writer.begin(1)
  writer.uint(1, status)
  writer.end(head)
  for (const name in headers) {
    if (name === 'content-type') continue
    const entry = writer.begin(2)
    writer.string(1, name)
    const values = writer.begin(2)
    const value = headers[name] as string | string[]
    if (Array.isArray(value)) for (const one of value) writer.string(1, one, true)
    else writer.string(1, value, true)
    writer.end(values)
    writer.end(entry)
  }
  const message = writer.begin(4)
  const any = writer.begin(1)
  if (data) writer.bytes(2, data)
  writer.end(any)
  writer.string(2, String(headers['content-type'] ?? ''))
  writer.end(message)
}

/** The leading InternalInvokeResponseStream, framed. */
export function encodeResponseHead(status: number, headers: Record<string, string | string[]>, first: Buffer | undefined): Buffer {
  writer.reset()
  const response = writer.begin(1)
  writeResponse(status, headers, undefined)
  writer.end(response)
  if (first) writePayload(first, 0)
  return seal(writer.take(5))
}

/** InternalInvokeResponse for the unary call, not framed. */
export function encodeResponse(status: number, headers: Record<string, string | string[]>, data: Buffer): Buffer {
  writer.reset()
  writeResponse(status, headers, data)
  return writer.take()
}

/** What the callee answered. `status` below 100 is a gRPC code. */
export interface IncomingResponse {
  status: number
  message: string
  details: Any[]
  headers: IncomingHttpHeaders
  data: Buffer
}

export function decodeResponse(reader: ProtoReader): IncomingResponse {
  const response: IncomingResponse = { status: -1, message: '', details: [], headers: {}, data: NONE }
  const list: string[] = []
  let contentType = ''
  while (reader.next()) {
    if (reader.field === 1) {
      response.status = 0
      const status = reader.message()
      while (status.next()) {
        if (status.field === 1) response.status = status.int32()
        else if (status.field === 2) response.message = status.string()
        else if (status.field === 3) response.details.push(readAny(status.message()))
        else status.skip()
      }
    } else if (reader.field === 2) readList(reader, list)
    else if (reader.field === 4) {
      const message = reader.message()
      while (message.next()) {
        if (message.field === 1) response.data = readAny(message.message()).value
        else if (message.field === 2) contentType = message.string()
        else message.skip()
      }
    } else reader.skip()
  }
  if (response.status < 0) throw new GrpcStatus(Code.Internal, 'the leading message of the reply carries no status')
  const headers: Record<string, string | string[]> = {}
  for (let i = 0; i < list.length; i += 2) {
    const name = (list[i] as string).toLowerCase()
    if (name.startsWith(':') || name.endsWith('-bin') || name === '__proto__') continue
    const value = list[i + 1] as string
    const before = headers[name]
    headers[name] = before === undefined ? value : Array.isArray(before) ? [...before, value] : [before, value]
  }
  if (contentType) headers['content-type'] = contentType
  response.headers = headers as IncomingHttpHeaders
  return response
}

export function decodeResponseStream(message: Buffer): StreamMessage<IncomingResponse> {
  return decodeStream(message, decodeResponse)
}

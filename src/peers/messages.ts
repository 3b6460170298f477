import type { IncomingHttpHeaders } from 'node:http'
import type { GrpcAnswer } from '../app/response-sink.ts'
import { Code } from '../errors.ts'
import { seal } from '../transport/grpc/frames.ts'
import { type Any, GrpcStatus, readAny, writeAny } from '../transport/grpc/status.ts'
import { ProtoReader, ProtoWriter } from '../transport/grpc/wire.ts'
import { lowerCase } from './headers.ts'
import type { Invocation } from './invocation.ts'
import {
  emptyInvokeRequest,
  type InvokeRequest,
  readInvokeRequest,
  readInvokeResponse,
  writeInvokeRequest,
  writeInvokeResponse,
} from './invoke-message.ts'

/** dapr.proto.internals.v1, by hand: the two messages each invocation between sidecars is made of. */

export const CALL_LOCAL = '/dapr.proto.internals.v1.ServiceInvocation/CallLocal'
export const CALL_LOCAL_STREAM = '/dapr.proto.internals.v1.ServiceInvocation/CallLocalStream'

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
  writeInvokeRequest(writer, invocation, data)
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

/** What arrives at the callee in the leading message; the data only in the unary call. */
export interface IncomingRequest extends InvokeRequest {
  metadata: string[]
}

export interface StreamMessage<Head> {
  head: Head | undefined
  payload: { data: Buffer; seq: number } | undefined
}

function invalid(text: string): GrpcStatus {
  return new GrpcStatus(Code.InvalidArgument, `parsing InternalInvokeRequest error: ${text}`)
}

export function decodeRequest(reader: ProtoReader): IncomingRequest {
  const request: IncomingRequest = { ...emptyInvokeRequest(), metadata: [] }
  let hasMessage = false
  while (reader.next()) {
    if (reader.field === 2) readList(reader, request.metadata)
    else if (reader.field === 3) {
      hasMessage = true
      readInvokeRequest(reader.message(), request)
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

/** The reply of an app, of either wire, as it goes to the calling sidecar. */
export interface OutgoingResponse {
  /** HTTP status, or a gRPC code below 100. */
  status: number
  /** Names in lower case. */
  headers: Readonly<Record<string, string | string[] | undefined>>
  answer: GrpcAnswer | undefined
}

/** Go's spelling of names, by the lower-case one: daprd knows HTTP's own headers by it. Bounded: emptied when full. */
const spellings = new Map<string, string>()

function spelling(name: string): string {
  let known = spellings.get(name)
  if (known === undefined) {
    known = name.replace(/(^|-)[a-z]/g, (letter) => letter.toUpperCase())
    if (spellings.size >= 2000) spellings.clear()
    spellings.set(name, known)
  }
  return known
}

function writeResponse({ status, headers, answer }: OutgoingResponse, data: Buffer | undefined): void {
  const head = writer.begin(1)
  writer.uint(1, status)
  if (answer) {
    writer.string(2, answer.message)
    for (const detail of answer.details) writeAny(writer, 3, detail)
  }
  writer.end(head)
  for (const name in headers) {
    const value = headers[name]
    if (name === 'content-type' || value === undefined) continue
    const entry = writer.begin(2)
    writer.string(1, status >= 100 ? spelling(name) : name)
    const values = writer.begin(2)
    if (Array.isArray(value)) for (const one of value) writer.string(1, one, true)
    else writer.string(1, value, true)
    writer.end(values)
    writer.end(entry)
  }
  if (answer) writeLists(3, answer.trailers)
  const message = writer.begin(4)
  writeInvokeResponse(writer, String(headers['content-type'] ?? ''), answer?.typeUrl ?? '', data)
  writer.end(message)
}

/** The leading InternalInvokeResponseStream, framed. */
export function encodeResponseHead(outgoing: OutgoingResponse, first: Buffer | undefined): Buffer {
  writer.reset()
  const response = writer.begin(1)
  writeResponse(outgoing, undefined)
  writer.end(response)
  if (first) writePayload(first, 0)
  return seal(writer.take(5))
}

/** InternalInvokeResponse for the unary call, not framed. */
export function encodeResponse(outgoing: OutgoingResponse, data: Buffer): Buffer {
  writer.reset()
  writeResponse(outgoing, data)
  return writer.take()
}

/** What the callee answered. `status` below 100 is a gRPC code, and then `answer` is there. */
export interface IncomingResponse {
  status: number
  answer: GrpcAnswer | undefined
  headers: IncomingHttpHeaders
  data: Buffer
}

export function decodeResponse(reader: ProtoReader): IncomingResponse {
  const response: IncomingResponse = { status: -1, answer: undefined, headers: {}, data: NONE }
  const list: string[] = []
  const trailers: string[] = []
  let message = ''
  let details: Any[] | undefined
  let typeUrl = ''
  let contentType = ''
  while (reader.next()) {
    if (reader.field === 1) {
      response.status = 0
      const status = reader.message()
      while (status.next()) {
        if (status.field === 1) response.status = status.int32()
        else if (status.field === 2) message = status.string()
        else if (status.field === 3) {
          details ??= []
          details.push(readAny(status.message()))
        } else status.skip()
      }
    } else if (reader.field === 2) readList(reader, list)
    else if (reader.field === 3) readList(reader, trailers)
    else if (reader.field === 4) {
      const reply = readInvokeResponse(reader.message())
      response.data = reply.data
      contentType = reply.contentType
      typeUrl = reply.typeUrl
    } else reader.skip()
  }
  if (response.status < 0) throw new GrpcStatus(Code.Internal, 'the leading message of the reply carries no status')
  const http = response.status >= 100
  const headers: Record<string, string | string[]> = {}
  for (let i = 0; i < list.length; i += 2) {
    const name = lowerCase(list[i] as string)
    if (name.startsWith(':') || name === '__proto__' || (http && name.endsWith('-bin'))) continue
    const value = list[i + 1] as string
    const before = headers[name]
    headers[name] = before === undefined ? value : Array.isArray(before) ? [...before, value] : [before, value]
  }
  if (contentType) headers['content-type'] = contentType
  response.headers = headers as IncomingHttpHeaders
  if (!http) response.answer = { message, details: details ?? [], trailers, typeUrl }
  return response
}

export function decodeResponseStream(message: Buffer): StreamMessage<IncomingResponse> {
  return decodeStream(message, decodeResponse)
}

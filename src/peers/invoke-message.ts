import { readAny } from '../transport/grpc/status.ts'
import type { ProtoReader, ProtoWriter } from '../transport/grpc/wire.ts'
import type { Invocation } from './invocation.ts'

/** dapr.proto.common.v1 InvokeRequest and InvokeResponse, by hand: part of every invocation on every wire. */

/** HTTPExtension.Verb by number. */
const VERBS = ['NONE', 'GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH']
const NONE: Buffer = Buffer.alloc(0)

export interface InvokeRequest {
  /** Empty: the message has no HTTP extension. */
  verb: string
  method: string
  query: string
  contentType: string
  typeUrl: string
  data: Buffer
}

/** Writes the fields of an InvokeRequest with `data` as its body. */
export function writeInvokeRequest(writer: ProtoWriter, invocation: Invocation, data: Buffer | undefined): void {
  writer.string(1, invocation.method)
  const any = writer.begin(2)
  if (invocation.typeUrl) writer.string(1, invocation.typeUrl)
  if (data) writer.bytes(2, data)
  writer.end(any)
  writer.string(3, invocation.contentType ?? '')
  if (invocation.verb === '') return
  const extension = writer.begin(4)
  const verb = VERBS.indexOf(invocation.verb)
  writer.uint(1, verb >= 0 ? verb : 3)
  writer.string(2, invocation.query)
  writer.end(extension)
}

export function emptyInvokeRequest(): InvokeRequest {
  return { verb: '', method: '', query: '', contentType: '', typeUrl: '', data: NONE }
}

/** Reads the fields of an InvokeRequest into `request`. */
export function readInvokeRequest(message: ProtoReader, request: InvokeRequest): void {
  while (message.next()) {
    if (message.field === 1) request.method = message.string()
    else if (message.field === 2) {
      const any = readAny(message.message())
      request.data = any.value
      request.typeUrl = any.typeUrl
    } else if (message.field === 3) request.contentType = message.string()
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
}

/** Writes the fields of an InvokeResponse; its data is there even when empty. */
export function writeInvokeResponse(writer: ProtoWriter, contentType: string, typeUrl: string, data: Buffer | undefined): void {
  const any = writer.begin(1)
  writer.string(1, typeUrl)
  if (data) writer.bytes(2, data)
  writer.end(any)
  writer.string(2, contentType)
}

export interface InvokeResponse {
  contentType: string
  typeUrl: string
  data: Buffer
}

export function readInvokeResponse(message: ProtoReader): InvokeResponse {
  const response: InvokeResponse = { contentType: '', typeUrl: '', data: NONE }
  while (message.next()) {
    if (message.field === 1) {
      const any = readAny(message.message())
      response.data = any.value
      response.typeUrl = any.typeUrl
    } else if (message.field === 2) response.contentType = message.string()
    else message.skip()
  }
  return response
}

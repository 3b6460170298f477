import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http2'
import { Code, type ErrorDetail, OutriderError } from '../../errors.ts'
import { H2 } from '../http2/protocol.ts'
import { encodeBinary } from './metadata.ts'
import { ProtoReader, ProtoWriter } from './wire.ts'

/** google.protobuf.Any. */
export interface Any {
  typeUrl: string
  value: Buffer
}

export interface GrpcStatusOptions {
  details?: readonly Any[]
  /** False: the call surely did nothing at the other side, it may be sent again. Default true. */
  sent?: boolean
  cause?: unknown
}

/** A gRPC call that ended with a status other than OK, here or at the other side. */
export class GrpcStatus extends Error {
  override readonly name = 'GrpcStatus'
  readonly code: Code
  readonly details: readonly Any[]
  readonly sent: boolean

  constructor(code: Code, message: string, options: GrpcStatusOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.details = options.details ?? []
    this.sent = options.sent ?? true
  }

  /** Any thrown value as a status; an OutriderError keeps its code and details. */
  static from(thrown: unknown): GrpcStatus {
    if (thrown instanceof GrpcStatus) return thrown
    const error = OutriderError.from(thrown)
    return new GrpcStatus(error.grpc, error.message, { details: error.details.flatMap(encodeDetail), cause: error })
  }
}

/** As Go prints a status error: `rpc error: code = Internal desc = …`. */
export function describeStatus(status: GrpcStatus): string {
  const name = Object.entries(Code).find(([, code]) => code === status.code)?.[0] ?? `Code(${status.code})`
  return `rpc error: code = ${name} desc = ${status.message}`
}

/** grpc-message: bytes outside printable ASCII, and `%`, as %XX. */
export function encodeGrpcMessage(message: string): string {
  if (/^[\x20-\x24\x26-\x7e]*$/.test(message)) return message
  let out = ''
  for (const byte of Buffer.from(message))
    out += byte < 0x20 || byte > 0x7e || byte === 0x25 ? `%${byte.toString(16).toUpperCase().padStart(2, '0')}` : String.fromCharCode(byte)
  return out
}

export function decodeGrpcMessage(text: string): string {
  if (!text.includes('%')) return text
  const bytes = Buffer.from(
    text.replace(/%([0-9a-fA-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    'latin1',
  )
  return bytes.toString()
}

const OK_TRAILERS: OutgoingHttpHeaders = { 'grpc-status': '0' }

/** The trailers that carry a status. */
export function statusTrailers(status: GrpcStatus | undefined): OutgoingHttpHeaders {
  if (!status) return OK_TRAILERS
  const trailers: OutgoingHttpHeaders = { 'grpc-status': String(status.code) }
  if (status.message) trailers['grpc-message'] = encodeGrpcMessage(status.message.slice(0, 4096))
  if (status.details.length > 0) {
    const writer = new ProtoWriter()
    writer.uint(1, status.code)
    writer.string(2, status.message)
    for (const detail of status.details) writeAny(writer, 3, detail)
    trailers['grpc-status-details-bin'] = encodeBinary(writer.take())
  }
  return trailers
}

/** The status that headers or trailers carry: undefined when OK, Unknown when they carry none. */
export function readStatus(trailers: IncomingHttpHeaders): GrpcStatus | undefined {
  const code = trailers['grpc-status']
  if (code === '0') return undefined
  if (typeof code !== 'string') return new GrpcStatus(Code.Unknown, 'the server closed the stream without a grpc-status')
  const message = trailers['grpc-message']
  const packed = trailers['grpc-status-details-bin']
  let details: Any[] = []
  try {
    if (typeof packed === 'string') details = readDetails(Buffer.from(packed, 'base64'))
  } catch {
    // Details are extra; a broken field does not hide the status.
  }
  return new GrpcStatus(toCode(Number(code)), typeof message === 'string' ? decodeGrpcMessage(message) : '', { details })
}

function toCode(number: number): Code {
  return Number.isInteger(number) && number >= 0 && number <= 16 ? (number as Code) : Code.Unknown
}

/** What an HTTP status without grpc-status means, by the gRPC specification. */
export function httpToGrpc(status: number): Code {
  switch (status) {
    case 400:
      return Code.Internal
    case 401:
      return Code.Unauthenticated
    case 403:
      return Code.PermissionDenied
    case 404:
      return Code.Unimplemented
    case 429:
    case 502:
    case 503:
    case 504:
      return Code.Unavailable
    default:
      return Code.Unknown
  }
}

/** What a stream reset by its server means, by HTTP/2 error code and as grpc-go has it. */
export function resetToGrpc(error: number): Code {
  switch (error) {
    case H2.REFUSED:
      return Code.Unavailable
    case H2.CANCEL:
      return Code.Canceled
    case H2.FLOW_CONTROL:
    case H2.CALM:
      return Code.ResourceExhausted
    case H2.INADEQUATE_SECURITY:
      return Code.PermissionDenied
    default:
      return Code.Internal
  }
}

const HTTP: readonly number[] = [200, 408, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401]

/** The HTTP status that says the same as a gRPC code, as grpc-gateway and Dapr have it. */
export function grpcToHttp(code: Code): number {
  return HTTP[code] ?? 500
}

export function writeAny(writer: ProtoWriter, field: number, any: Any): void {
  const mark = writer.begin(field)
  writer.string(1, any.typeUrl)
  writer.bytes(2, any.value)
  writer.end(mark)
}

export function readAny(reader: ProtoReader): Any {
  const any: Any = { typeUrl: '', value: Buffer.alloc(0) }
  while (reader.next()) {
    if (reader.field === 1) any.typeUrl = reader.string()
    else if (reader.field === 2) any.value = reader.bytes()
    else reader.skip()
  }
  return any
}

function readDetails(buffer: Buffer): Any[] {
  const reader = new ProtoReader(buffer)
  const details: Any[] = []
  while (reader.next()) {
    if (reader.field === 3) details.push(readAny(reader.message()))
    else reader.skip()
  }
  return details
}

const TYPES = 'type.googleapis.com/google.rpc.'

/** The google.rpc details we send, from their JSON form; unknown kinds are left out. */
function encodeDetail(detail: ErrorDetail): Any[] {
  const writer = new ProtoWriter()
  const text = (name: string) => String(detail[name] ?? '')
  switch (detail['@type']) {
    case `${TYPES}ErrorInfo`:
      writer.string(1, text('reason'))
      writer.string(2, text('domain'))
      writer.map(3, (detail.metadata ?? {}) as Record<string, string>)
      break
    case `${TYPES}ResourceInfo`:
      writer.string(1, text('resource_type'))
      writer.string(2, text('resource_name'))
      writer.string(3, text('owner'))
      writer.string(4, text('description'))
      break
    case `${TYPES}BadRequest`:
      for (const violation of (detail.field_violations ?? []) as { field?: string; description?: string }[]) {
        const mark = writer.begin(1)
        writer.string(1, violation.field ?? '')
        writer.string(2, violation.description ?? '')
        writer.end(mark)
      }
      break
    case `${TYPES}Help`:
      for (const link of (detail.links ?? []) as { description?: string; url?: string }[]) {
        const mark = writer.begin(1)
        writer.string(1, link.description ?? '')
        writer.string(2, link.url ?? '')
        writer.end(mark)
      }
      break
    default:
      return []
  }
  return [{ typeUrl: detail['@type'], value: writer.take() }]
}

/** Headers by names as names and values in turn. */
export function flatten(headers: Readonly<Record<string, unknown>>): string[] {
  const out: string[] = []
  for (const name in headers) for (const value of [headers[name]].flat()) if (value !== undefined) out.push(name, String(value))
  return out
}

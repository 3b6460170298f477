import { Code } from '../../errors.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
import { ProtoWriter } from '../../transport/grpc/wire.ts'
import { STATUS_CODES } from '../../transport/node-http.ts'

/** gRPC codes of an HTTP app's statuses; the others outside 2xx are Unknown. */
const CODES: Readonly<Record<number, Code>> = {
  400: Code.Internal,
  401: Code.Unauthenticated,
  403: Code.PermissionDenied,
  404: Code.NotFound,
  408: Code.Canceled,
  409: Code.AlreadyExists,
  429: Code.ResourceExhausted,
  501: Code.Unimplemented,
  503: Code.Unavailable,
  504: Code.DeadlineExceeded,
}
/** Where Go's words for a status are not Node's. */
const TEXTS: Readonly<Record<number, string>> = {
  413: 'Request Entity Too Large',
  416: 'Requested Range Not Satisfiable',
  418: "I'm a teapot",
  509: '',
}
/** Bytes of an ErrorInfo value. */
const LONGEST = 63
const writer = new ProtoWriter()

/** What a gRPC caller gets for an HTTP app's status; undefined when it is a success. */
export function httpFailure(status: number, body: Buffer | undefined): GrpcStatus | undefined {
  if (status >= 200 && status < 300) return undefined
  const text = TEXTS[status] ?? STATUS_CODES[status] ?? ''
  writer.reset()
  writer.string(1, text)
  writer.string(2, 'dapr.io')
  writer.map(3, { 'http.code': String(status), 'http.error_message': beginning(body) })
  return new GrpcStatus(CODES[status] ?? Code.Unknown, text, {
    details: [{ typeUrl: 'type.googleapis.com/google.rpc.ErrorInfo', value: writer.take() }],
  })
}

/** The first bytes of a body as text, cut between characters. */
function beginning(body: Buffer | undefined): string {
  if (!body) return ''
  if (body.length < LONGEST) return body.toString()
  let end = LONGEST
  while (end > LONGEST - 4 && ((body[end] ?? 0) & 0xc0) === 0x80) end--
  return body.toString('utf8', 0, end)
}

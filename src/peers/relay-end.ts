import { constants, type OutgoingHttpHeaders, type ServerHttp2Stream } from 'node:http2'
import { Code } from '../errors.ts'
import { GrpcStatus } from '../transport/grpc/status.ts'

export function tooLarge(size: number, limit: number): GrpcStatus {
  return new GrpcStatus(Code.ResourceExhausted, `grpc: received message larger than max (${size} vs. ${limit})`)
}

/**
 * A client that is still sending would keep the stream open although we are done with it. Not in this turn: a reset
 * overtakes what is not written yet.
 */
export function endRequest(stream: ServerHttp2Stream): void {
  if (!stream.readableEnded) setImmediate(() => stream.destroyed || stream.readableEnded || stream.close(constants.NGHTTP2_NO_ERROR))
}

/** A flat list as the object that node:http2 wants for trailers. */
export function grouped(raw: readonly string[]): OutgoingHttpHeaders {
  const headers: Record<string, string | string[]> = {}
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string
    const value = raw[i + 1] as string
    const before = headers[name]
    headers[name] = before === undefined ? value : Array.isArray(before) ? [...before, value] : [before, value]
  }
  return headers
}

import { emptyInvokeRequest, type InvokeRequest, readInvokeRequest, writeInvokeResponse } from '../../peers/invoke-message.ts'
import { seal } from '../../transport/grpc/frames.ts'
import { ProtoReader, ProtoWriter } from '../../transport/grpc/wire.ts'

const writer = new ProtoWriter()

/** dapr.proto.runtime.v1.InvokeServiceRequest, by hand; a message that is missing is an empty one. */
export function decodeInvokeService(bytes: Buffer): { id: string; message: InvokeRequest } {
  const reader = new ProtoReader(bytes)
  const message = emptyInvokeRequest()
  let id = ''
  while (reader.next()) {
    if (reader.field === 1) id = reader.string()
    else if (reader.field === 3) readInvokeRequest(reader.message(), message)
    else reader.skip()
  }
  return { id, message }
}

/** dapr.proto.common.v1.InvokeResponse, framed. */
export function encodeInvokeReply(contentType: string, typeUrl: string, data: Buffer | undefined): Buffer {
  writer.reset()
  writeInvokeResponse(writer, contentType, typeUrl, data)
  return seal(writer.take(5))
}

import { emptyMap, type ProtoReader, ProtoWriter, ProtoReader as Reader } from '../../transport/grpc/wire.ts'

/** dapr.proto.runtime.v1 and common.v1, by hand: the requests and replies of the methods in api.ts. */

const writer = new ProtoWriter()
const NONE: Buffer = Buffer.alloc(0)
const CONCURRENCY = ['', 'first-write', 'last-write']
const CONSISTENCY = ['', 'eventual', 'strong']

export interface SaveStateRequest {
  storeName: string
  items: {
    key: string
    value: Buffer
    etag: string | undefined
    metadata: Record<string, string>
    concurrency: string | undefined
    consistency: string | undefined
  }[]
}

function decodeItem(reader: ProtoReader): SaveStateRequest['items'][number] {
  const item: SaveStateRequest['items'][number] = {
    key: '',
    value: NONE,
    etag: undefined,
    metadata: emptyMap(),
    concurrency: undefined,
    consistency: undefined,
  }
  while (reader.next()) {
    if (reader.field === 1) item.key = reader.string()
    else if (reader.field === 2) item.value = reader.bytes()
    else if (reader.field === 3) {
      // An Etag message that is there counts, even with an empty value.
      item.etag = ''
      const etag = reader.message()
      while (etag.next()) {
        if (etag.field === 1) item.etag = etag.string()
        else etag.skip()
      }
    } else if (reader.field === 4) reader.entry(item.metadata)
    else if (reader.field === 5) {
      const options = reader.message()
      while (options.next()) {
        if (options.field === 1) item.concurrency = CONCURRENCY[options.uint()] || undefined
        else if (options.field === 2) item.consistency = CONSISTENCY[options.uint()] || undefined
        else options.skip()
      }
    } else reader.skip()
  }
  return item
}

export function decodeSaveState(message: Buffer): SaveStateRequest {
  const reader = new Reader(message)
  const request: SaveStateRequest = { storeName: '', items: [] }
  while (reader.next()) {
    if (reader.field === 1) request.storeName = reader.string()
    else if (reader.field === 2) request.items.push(decodeItem(reader.message()))
    else reader.skip()
  }
  return request
}

export interface GetStateRequest {
  storeName: string
  key: string
  consistency: string | undefined
  metadata: Record<string, string>
}

export function decodeGetState(message: Buffer): GetStateRequest {
  const reader = new Reader(message)
  const request: GetStateRequest = { storeName: '', key: '', consistency: undefined, metadata: emptyMap() }
  while (reader.next()) {
    if (reader.field === 1) request.storeName = reader.string()
    else if (reader.field === 2) request.key = reader.string()
    else if (reader.field === 3) request.consistency = CONSISTENCY[reader.uint()] || undefined
    else if (reader.field === 4) reader.entry(request.metadata)
    else reader.skip()
  }
  return request
}

export interface GetStateResponse {
  data: Buffer
  etag?: string | undefined
  metadata?: Readonly<Record<string, string>> | undefined
}

export function encodeGetState(response: GetStateResponse | undefined): Buffer {
  if (!response) return NONE
  writer.reset()
  writer.bytes(1, response.data)
  writer.string(2, response.etag ?? '')
  if (response.metadata) writer.map(3, response.metadata)
  return writer.take()
}

export interface PublishEventRequest {
  pubsubName: string
  topic: string
  data: Buffer
  contentType: string
  metadata: Record<string, string>
}

export function decodePublishEvent(message: Buffer): PublishEventRequest {
  const reader = new Reader(message)
  const request: PublishEventRequest = { pubsubName: '', topic: '', data: NONE, contentType: '', metadata: emptyMap() }
  while (reader.next()) {
    if (reader.field === 1) request.pubsubName = reader.string()
    else if (reader.field === 2) request.topic = reader.string()
    else if (reader.field === 3) request.data = reader.bytes()
    else if (reader.field === 4) request.contentType = reader.string()
    else if (reader.field === 5) reader.entry(request.metadata)
    else reader.skip()
  }
  return request
}

/** google.protobuf.Empty, and every request that has no fields. */
export function encodeEmpty(): Buffer {
  return NONE
}

/** One kind of request whose cost is measured. */
export interface Scenario {
  name: string
  method: 'GET' | 'POST'
  path: string
  body?: string
  /** Sent over gRPC instead: `path` is the method, this its message and metadata. */
  grpc?: { message: Buffer; metadata: Record<string, string> }
  /** The app speaks gRPC. */
  grpcApp?: boolean
  /** Needs the Redis components. */
  redis?: boolean
  /** Goes through a second sidecar, whose CPU and memory count too. */
  callee?: boolean
}

const item = '[{"key":"key","value":{"name":"order","n":42}}]'
const event = '{"name":"order","n":42}'

export const scenarios: readonly Scenario[] = [
  { name: 'healthz', method: 'GET', path: '/v1.0/healthz' },
  { name: 'state get in-memory', method: 'GET', path: '/v1.0/state/memory/key' },
  { name: 'state save in-memory', method: 'POST', path: '/v1.0/state/memory', body: item },
  { name: 'state get sqlite', method: 'GET', path: '/v1.0/state/sqlite/key' },
  { name: 'state save sqlite', method: 'POST', path: '/v1.0/state/sqlite', body: item },
  { name: 'state get redis', method: 'GET', path: '/v1.0/state/redis/key', redis: true },
  { name: 'state save redis', method: 'POST', path: '/v1.0/state/redis', body: item, redis: true },
  { name: 'publish in-memory', method: 'POST', path: '/v1.0/publish/events/topic', body: event },
  { name: 'publish redis', method: 'POST', path: '/v1.0/publish/redis-events/topic', body: event, redis: true },
  { name: 'secret', method: 'GET', path: '/v1.0/secrets/secrets/key' },
  { name: 'invoke', method: 'GET', path: '/v1.0/invoke/bench-callee/method/hello', callee: true },
  {
    name: 'invoke 1 KB',
    method: 'POST',
    path: '/v1.0/invoke/bench-callee/method/hello',
    body: JSON.stringify('x'.repeat(1022)),
    callee: true,
  },
  grpc('gRPC state get in-memory', 'GetState', [field(1, 'memory'), field(2, 'key')]),
  { ...grpc('gRPC state get redis', 'GetState', [field(1, 'redis'), field(2, 'key')]), redis: true },
  {
    ...grpc('gRPC state save redis', 'SaveState', [
      field(1, 'redis'),
      field(2, Buffer.concat([field(1, 'key'), field(2, '{"name":"order","n":42}')])),
    ]),
    redis: true,
  },
  grpc('gRPC publish in-memory', 'PublishEvent', [field(1, 'events'), field(2, 'topic'), field(3, event)]),
  { ...grpc('gRPC publish redis', 'PublishEvent', [field(1, 'redis-events'), field(2, 'topic'), field(3, event)]), redis: true },
  {
    name: 'InvokeService',
    method: 'POST',
    path: '/dapr.proto.runtime.v1.Dapr/InvokeService',
    grpc: { message: invokeService('hello'), metadata: {} },
    callee: true,
  },
  {
    name: 'InvokeService, gRPC app',
    method: 'POST',
    path: '/dapr.proto.runtime.v1.Dapr/InvokeService',
    grpc: { message: invokeService('hello'), metadata: {} },
    grpcApp: true,
    callee: true,
  },
  {
    name: 'gRPC proxy',
    method: 'POST',
    path: '/bench.Echo/Say',
    grpc: { message: Buffer.alloc(64, 'x'), metadata: { 'dapr-app-id': 'bench-callee' } },
    grpcApp: true,
    callee: true,
  },
]

/** A call of the Dapr service. */
function grpc(name: string, method: string, fields: readonly Buffer[]): Scenario {
  const path = `/dapr.proto.runtime.v1.Dapr/${method}`
  return { name, method: 'POST', path, grpc: { message: Buffer.concat(fields), metadata: {} } }
}

/** A length-delimited protobuf field of at most 127 bytes. */
function field(number: number, value: string | Buffer): Buffer {
  const bytes = Buffer.from(value as string)
  return Buffer.concat([Buffer.from([number * 8 + 2, bytes.length]), bytes])
}

/** An InvokeServiceRequest to `bench-callee`: GET of this method. */
function invokeService(method: string): Buffer {
  const id = Buffer.from('bench-callee')
  const message = Buffer.concat([Buffer.from([10, method.length]), Buffer.from(method), Buffer.from([34, 2, 8, 1])])
  return Buffer.concat([Buffer.from([10, id.length]), id, Buffer.from([26, message.length]), message])
}

/** The request as it goes over the wire. */
export function requestText({ method, path, body }: Scenario): string {
  const head = `${method} ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\n`
  if (body === undefined) return `${head}\r\n`
  return `${head}content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
}

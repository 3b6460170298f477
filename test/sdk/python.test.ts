import { join } from 'node:path'
import { type Feature, sdkTest } from './features.ts'

const folder = join(import.meta.dirname, 'python')
const program = (protocol: 'http' | 'grpc', script: string) => ({
  name: `python-${protocol}`,
  protocol,
  command: join(folder, '.venv/bin/python'),
  args: [script],
  cwd: folder,
  env: { DAPR_API_METHOD_INVOCATION_PROTOCOL: protocol, PYTHONDONTWRITEBYTECODE: '1' },
})

const COMMON: readonly Feature[] = [
  'wait for the sidecar',
  'state: save and get',
  'state: bulk save',
  'state: bulk get',
  'state: delete',
  'state: transaction',
  'state: a stale etag is refused',
  'state: query',
  'pub/sub: an object and a text',
  'pub/sub: declared by a resource',
  'pub/sub: raw',
  'pub/sub: dead letter',
  'pub/sub: retried until it succeeds',
  'pub/sub: bulk publish',
  'pub/sub: bulk subscribe',
  'pub/sub: streaming subscription',
  'pub/sub: streaming subscription with a handler',
  'pub/sub: an unknown component is an error',
  'invocation: GET and POST',
  'invocation: from another program',
  'invocation: an unknown app is an error',
  'secrets: one and all',
  'configuration: get',
  'configuration: subscribe',
  'lock: one owner at a time',
  'crypto: encrypt and decrypt',
  'bindings: out',
  'bindings: in',
  'conversation: echo',
  'conversation: echo over Alpha1',
  'metadata: get and set',
]

// The client speaks gRPC in both; what differs is the app that the sidecar calls, and the wire of invocation.
// dapr-ext-fastapi knows no rules for routes, and proxying needs an app that speaks gRPC.
sdkTest('Python SDK with FastAPI', 'python', program('http', 'fastapi_app.py'), [...COMMON, 'shutdown'])
const GRPC: readonly Feature[] = ['pub/sub: routes', 'invocation: gRPC proxying', 'shutdown']
sdkTest('Python SDK over gRPC', 'python', program('grpc', 'grpc_app.py'), [...COMMON, ...GRPC])

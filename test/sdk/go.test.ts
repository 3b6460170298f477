import { join } from 'node:path'
import { API_TOKEN, type Feature, sdkTest } from './features.ts'

const folder = join(import.meta.dirname, 'go')
const program = (protocol: 'http' | 'grpc', env = {}) => ({
  name: `go-${protocol}`,
  protocol,
  command: join(folder, 'build/program'),
  args: [],
  cwd: folder,
  env,
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
  'pub/sub: routes',
  'pub/sub: dead letter',
  'pub/sub: retried until it succeeds',
  'pub/sub: bulk publish',
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

// Both ways are guarded: the SDK says one token to the sidecar and wants the other one from it.
const TOKENS = { DAPR_API_TOKEN: API_TOKEN, APP_API_TOKEN: 'the token of the app' }

// The client speaks gRPC in both; what differs is the service that the sidecar calls. It has no bulk subscriptions,
// and with a token it drops all other metadata of a call, so that nothing can be proxied.
sdkTest('Go SDK with an HTTP service, API tokens both ways', 'go', program('http', TOKENS), [...COMMON, 'shutdown'])
sdkTest('Go SDK with a gRPC service', 'go', program('grpc'), [...COMMON, 'invocation: gRPC proxying', 'shutdown'])

import { join } from 'node:path'
import { type Feature, sdkTest } from './features.ts'

const program = {
  name: 'java-grpc',
  protocol: 'grpc' as const,
  command: 'java',
  // One small program on two cores: the quick compiler only, and no threads for collecting garbage.
  args: ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-cp', 'target/classes:target/lib/*', 'Main'],
  cwd: join(import.meta.dirname, 'java'),
}

// The client speaks gRPC, and HTTP for invocation; the app is on the gRPC stubs that the SDK brings. It cannot set metadata.
const FEATURES: readonly Feature[] = [
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
  'pub/sub: bulk subscribe',
  'pub/sub: streaming subscription',
  'pub/sub: streaming subscription with a handler',
  'pub/sub: an unknown component is an error',
  'invocation: GET and POST',
  'invocation: from another program',
  'invocation: gRPC proxying',
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
  'metadata: get',
  'shutdown',
]
sdkTest('Java SDK', 'java', program, FEATURES, {
  ours: { shutdown: 'daprd waits for ever for a streaming subscription that the app leaves open' },
})

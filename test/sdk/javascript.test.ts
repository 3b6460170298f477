import { join } from 'node:path'
import { type Feature, sdkTest } from './features.ts'

const program = (protocol: 'http' | 'grpc') => ({
  name: `javascript-${protocol}`,
  protocol,
  command: process.execPath,
  args: ['main.mjs'],
  cwd: join(import.meta.dirname, 'javascript'),
})

const STATE_AND_EVENTS: readonly Feature[] = [
  'wait for the sidecar',
  'state: save and get',
  'state: bulk save',
  'state: bulk get',
  'state: delete',
  'state: transaction',
  'state: a stale etag is refused',
  'state: query',
  'pub/sub: an object and a text',
  'pub/sub: raw',
  'pub/sub: routes',
  'pub/sub: dead letter',
  'pub/sub: retried until it succeeds',
  'pub/sub: bulk publish',
  'pub/sub: bulk subscribe',
  'pub/sub: an unknown component is an error',
  'invocation: GET and POST',
  'invocation: from another program',
  'invocation: an unknown app is an error',
  'secrets: one and all',
  'lock: one owner at a time',
  'bindings: out',
  'bindings: in',
  'metadata: get and set',
]

// The SDK has neither streaming subscriptions nor conversations, and its proxy refuses ("not supported with the ConnectRPC transport").
// Over HTTP it lacks configuration and cryptography; its gRPC server ignores topics that only a resource declares.
sdkTest('JavaScript SDK over HTTP', 'javascript', program('http'), [...STATE_AND_EVENTS, 'pub/sub: declared by a resource', 'shutdown'])

const GRPC: readonly Feature[] = ['configuration: get', 'configuration: subscribe', 'crypto: encrypt and decrypt', 'shutdown']
sdkTest('JavaScript SDK over gRPC', 'javascript', program('grpc'), [...STATE_AND_EVENTS, ...GRPC], {
  ours: {
    'pub/sub: bulk subscribe': "daprd takes the server's HTTP 404 for OnBulkTopicEvent as Internal and never tries the Alpha method",
  },
})

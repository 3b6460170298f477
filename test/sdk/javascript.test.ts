import { join } from 'node:path'
import { type Feature, sdkTest } from './features.ts'

const program = (protocol: 'http' | 'grpc') => ({
  name: `javascript-${protocol}`,
  protocol,
  command: process.execPath,
  args: ['main.mjs'],
  cwd: join(import.meta.dirname, 'javascript'),
})

const COMMON: readonly Feature[] = ['pub/sub: routes', 'pub/sub: bulk subscribe', 'metadata: get and set']

// The SDK has neither streaming subscriptions nor conversations, and its proxy refuses ("not supported with the ConnectRPC transport").
// Over HTTP it lacks configuration and cryptography; its gRPC server ignores topics that only a resource declares.
sdkTest('JavaScript SDK over HTTP', 'javascript', program('http'), [...COMMON, 'pub/sub: declared by a resource'])

const GRPC: readonly Feature[] = ['configuration: get', 'configuration: subscribe', 'crypto: encrypt and decrypt']
sdkTest('JavaScript SDK over gRPC', 'javascript', program('grpc'), [...COMMON, ...GRPC], {
  ours: {
    'pub/sub: bulk subscribe': "daprd takes the server's HTTP 404 for OnBulkTopicEvent as Internal and never tries the Alpha method",
  },
})

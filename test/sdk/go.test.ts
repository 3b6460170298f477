import { join } from 'node:path'
import { API_TOKEN, type Feature, MOST, PROXYING, sdkTest } from './features.ts'

const folder = join(import.meta.dirname, 'go')
const program = (protocol: 'http' | 'grpc', env = {}) => ({
  name: `go-${protocol}`,
  protocol,
  command: join(folder, 'build/program'),
  args: [],
  cwd: folder,
  env,
})

const COMMON: readonly Feature[] = [...MOST, 'pub/sub: routes', 'conversation: echo over Alpha1', 'metadata: get and set']

// Both ways are guarded: the SDK says one token to the sidecar and wants the other one from it.
const TOKENS = { DAPR_API_TOKEN: API_TOKEN, APP_API_TOKEN: 'the token of the app' }

// The client speaks gRPC in both; what differs is the service that the sidecar calls. It has no bulk subscriptions,
// and with a token it drops all other metadata of a call, so that nothing can be proxied.
sdkTest('Go SDK with an HTTP service, API tokens both ways', 'go', program('http', TOKENS), COMMON)
sdkTest('Go SDK with a gRPC service', 'go', program('grpc'), [...COMMON, ...PROXYING])

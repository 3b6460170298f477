import { delimiter, join } from 'node:path'
import { API_TOKEN, type Feature, sdkTest } from './features.ts'

// There is no .NET here. A client and an app made by protoc from Dapr's own protos speak as the .NET SDK does: test/sdk/dotnet.
const folder = join(import.meta.dirname, 'dotnet')
const program = (protocol: 'http' | 'grpc', script: string, env = {}) => ({
  name: `dotnet-${protocol}`,
  protocol,
  command: join(folder, '.venv/bin/python'),
  args: [script],
  cwd: folder,
  env: { PYTHONPATH: ['build', '../python'].map((path) => join(folder, path)).join(delimiter), PYTHONDONTWRITEBYTECODE: '1', ...env },
})

const COMMON: readonly Feature[] = [
  'wait for the sidecar',
  'state: save and get',
  'state: bulk save',
  'state: bulk get',
  'state: bulk delete',
  'state: delete',
  'state: transaction',
  'state: a transaction with a stale etag changes nothing',
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
  'invocation: an unknown app is an error',
  'secrets: one and all',
  'configuration: get',
  'configuration: subscribe',
  'lock: one owner at a time',
  'crypto: encrypt and decrypt',
  'bindings: out',
  'bindings: in',
  'conversation: echo',
  'metadata: get and set',
  "protocol: reflection agrees with Dapr's protos",
  'protocol: compressed requests',
  'protocol: many calls at once on one connection',
]

sdkTest(
  "The .NET SDK's protocol with an app as on Dapr.AspNetCore, API token",
  'dotnet',
  program('http', 'aspnet_app.py', { DAPR_API_TOKEN: API_TOKEN }),
  [...COMMON, 'shutdown'],
)
const GRPC: readonly Feature[] = [
  'invocation: messages in Any',
  'invocation: gRPC proxying',
  'protocol: a deadline ends a call on both sides',
  'shutdown',
]
sdkTest("The .NET SDK's protocol with an app as on Grpc.AspNetCore", 'dotnet', program('grpc', 'grpc_app.py'), [...COMMON, ...GRPC])

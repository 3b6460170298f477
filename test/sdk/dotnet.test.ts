import { delimiter, join } from 'node:path'
import { API_TOKEN, type Feature, MOST, PROXYING, sdkTest } from './features.ts'

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
  ...MOST,
  'state: bulk delete',
  'state: a transaction with a stale etag changes nothing',
  'pub/sub: routes',
  'pub/sub: bulk subscribe',
  'metadata: get and set',
  "protocol: reflection agrees with Dapr's protos",
  'protocol: compressed requests',
  'protocol: a long answer on a new connection',
  'protocol: many calls at once on one connection',
]
const http = program('http', 'aspnet_app.py', { DAPR_API_TOKEN: API_TOKEN })
sdkTest("The .NET SDK's protocol with an app as on Dapr.AspNetCore, API token", 'dotnet', http, COMMON)

const GRPC: readonly Feature[] = ['invocation: messages in Any', 'protocol: a deadline ends a call on both sides']
const grpc = program('grpc', 'grpc_app.py')
sdkTest("The .NET SDK's protocol with an app as on Grpc.AspNetCore", 'dotnet', grpc, [...COMMON, ...PROXYING, ...GRPC])

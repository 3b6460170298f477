import { join } from 'node:path'
import { type Feature, MOST, PROXYING, sdkTest } from './features.ts'

const folder = join(import.meta.dirname, 'python')
const program = (protocol: 'http' | 'grpc', script: string) => ({
  name: `python-${protocol}`,
  protocol,
  command: join(folder, '.venv/bin/python'),
  args: [script],
  cwd: folder,
  env: { DAPR_API_METHOD_INVOCATION_PROTOCOL: protocol, PYTHONDONTWRITEBYTECODE: '1' },
})

const COMMON: readonly Feature[] = [...MOST, 'pub/sub: bulk subscribe', 'conversation: echo over Alpha1', 'metadata: get and set']

// The client speaks gRPC in both; what differs is the app that the sidecar calls, and the wire of invocation.
// dapr-ext-fastapi knows no rules for routes, and proxying needs an app that speaks gRPC.
sdkTest('Python SDK with FastAPI', 'python', program('http', 'fastapi_app.py'), COMMON)
sdkTest('Python SDK over gRPC', 'python', program('grpc', 'grpc_app.py'), [...COMMON, ...PROXYING, 'pub/sub: routes'])

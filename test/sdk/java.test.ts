import { join } from 'node:path'
import { type Feature, MOST, PROXYING, sdkTest } from './features.ts'

const program = {
  name: 'java-grpc',
  protocol: 'grpc' as const,
  command: 'java',
  // One small program on two cores: the quick compiler only, and no threads for collecting garbage.
  args: ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-cp', 'target/classes:target/lib/*', 'Main'],
  cwd: join(import.meta.dirname, 'java'),
}

// The client speaks gRPC, and HTTP for invocation; the app is on the gRPC stubs that the SDK brings. It cannot set metadata.
const MORE: readonly Feature[] = ['pub/sub: routes', 'pub/sub: bulk subscribe', 'conversation: echo over Alpha1', 'metadata: get']
sdkTest('Java SDK', 'java', program, [...MOST, ...PROXYING, ...MORE], {
  ours: { shutdown: 'daprd waits for ever for a streaming subscription that the app leaves open' },
})

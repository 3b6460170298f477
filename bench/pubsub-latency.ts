import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { driver } from '../src/components/pubsub/sqlite/driver.ts'
import { startChild } from '../src/components/pubsub/testing/process.ts'
import { createLogger } from '../src/telemetry/log.ts'

/**
 * pubsub.sqlite between two processes: from calling publish to the other process's handler, one message at a time;
 * then publishes a second in one process, 64 at a time, on an empty history and on a long one.
 * `node bench/pubsub-latency.ts [rounds] [history]`
 */
const rounds = Number(process.argv[2] ?? 1000)
const history = Number(process.argv[3] ?? 200_000)
const directory = mkdtempSync(join(tmpdir(), 'outrider-bench-'))
const properties = { connectionString: join(directory, 'broker.db'), concurrency: '1' }
const log = createLogger({ level: 'error', json: false, appId: 'bench', version: 'bench' })
// The bench's own component has the default concurrency; the child's handles one message at a time.
const pubsub = driver.create({
  name: 'pubsub',
  type: 'pubsub.sqlite',
  version: 'v1',
  properties: { connectionString: properties.connectionString },
  appId: 'bench',
  namespace: 'default',
  log,
})
await pubsub.init(AbortSignal.timeout(10_000))

// The child answers on its own topic's line; the time includes its standard output, about 0.1 ms.
const child = startChild('pubsub.sqlite', 'echo', 'latency', 0, properties)
await child.until(1)
const times: number[] = []
for (let index = 0; index < rounds; index++) {
  const start = performance.now()
  await Promise.all([pubsub.publish({ topic: 'latency', data: Buffer.from('x'), metadata: {} }), child.until(index + 2)])
  times.push(performance.now() - start)
}
times.sort((a, b) => a - b)
const at = (share: number) => (times[Math.min(times.length - 1, Math.floor(times.length * share))] as number).toFixed(2)
console.log(`publish → other process's handler, ${rounds} rounds: p50 ${at(0.5)} ms, p90 ${at(0.9)} ms, p99 ${at(0.99)} ms`)
await child.kill()

const data = Buffer.alloc(256, 'x')
async function publishMany(count: number): Promise<number> {
  const start = performance.now()
  let left = count
  await Promise.all(
    Array.from({ length: 64 }, async () => {
      while (left-- > 0) await pubsub.publish({ topic: 'many', data, metadata: {} })
    }),
  )
  return Math.round((count / (performance.now() - start)) * 1000)
}
/** Publish and handle in one process; the handler answers at once. */
async function through(count: number, topic: string): Promise<number> {
  let handled = 0
  const all = Promise.withResolvers<void>()
  await using _subscription = await pubsub.subscribe(topic, {}, async () => void (++handled === count && all.resolve()))
  const start = performance.now()
  let left = count
  await Promise.all(
    Array.from({ length: 64 }, async () => {
      while (left-- > 0) await pubsub.publish({ topic, data, metadata: {} })
    }),
  )
  await all.promise
  return Math.round((count / (performance.now() - start)) * 1000)
}
console.log(`256-byte publishes a second, 64 at a time: ${await publishMany(20_000)} on an empty history`)
console.log(`published and handled a second, 10 handlers: ${await through(20_000, 'through-1')}`)
await publishMany(history)
console.log(
  `after ${history} kept messages: ${await publishMany(20_000)} publishes a second, ${await through(20_000, 'through-2')} through`,
)
await pubsub[Symbol.asyncDispose]()
rmSync(directory, { recursive: true, force: true })

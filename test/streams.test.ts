import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer, request } from 'node:http'
import { connect, createServer as createHttp2Server, type ServerHttp2Stream } from 'node:http2'
import type { AddressInfo, Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { after, before, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { Random } from './random.ts'
import { type SidecarProcess, startSidecar } from './sidecar.ts'

// Sidecars use the memory of a stream again while others are under way: bytes of one must never turn up in another. Node's own
// clients and servers stand at both ends; some read slowly, some go away in the middle.

const TASKS = 120
const AT_ONCE = 24
const limit = { timeout: 60_000 }
const seed = Date.now() >>> 0
const random = new Random(seed)
const home = mkdtempSync(join(tmpdir(), 'outrider-streams-'))
const httpApp = createServer((incoming, response) => void incoming.pipe(response.writeHead(200)))
const grpcApp = createHttp2Server()
grpcApp.on('stream', (stream: ServerHttp2Stream) => {
  stream.on('error', () => {})
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
  stream.pipe(stream)
})
const sidecars: SidecarProcess[] = []

before(async () => {
  const [http, grpc] = [await listening(httpApp), await listening(grpcApp)]
  sidecars.push(
    await start('streams-http', ['--app-protocol=http', `--app-port=${http}`]),
    await start('streams-grpc', ['--app-protocol=grpc', `--app-port=${grpc}`]),
    await start('streams-caller', []),
  )
})

after(async () => {
  for (const sidecar of sidecars) await sidecar.stop()
  httpApp.closeAllConnections()
  httpApp.close()
  grpcApp.close()
  rmSync(home, { recursive: true, force: true })
})

test('many bodies at once through two sidecars come back as they went', limit, async (t) => {
  t.diagnostic(`seed ${seed}`)
  const [, , caller] = sidecars as [SidecarProcess, SidecarProcess, SidecarProcess]
  await allOf(async (plan) => {
    const call = request(`${caller.http}/v1.0/invoke/streams-http/method/echo`, { method: 'POST' })
    if (plan.known) call.setHeader('content-length', plan.length)
    return streamed(plan, call, async () => (await once(call, 'response'))[0] as Readable)
  })
})

test('many gRPC streams at once through two sidecars bring each message as it went', limit, async (t) => {
  t.diagnostic(`seed ${seed}`)
  const [, , caller] = sidecars as [SidecarProcess, SidecarProcess, SidecarProcess]
  const session = connect(`http://${caller.grpc}`)
  session.on('error', () => {})
  await allOf((plan) => {
    const stream = session.request({
      ':method': 'POST',
      ':path': '/test.Echo/Echo',
      'content-type': 'application/grpc',
      te: 'trailers',
      'dapr-app-id': 'streams-grpc',
    })
    return streamed({ ...plan, parts: plan.parts.map(framed) }, stream, async () => stream)
  })
  session.destroy()
})

interface Plan {
  parts: Buffer[]
  length: number
  /** Whether its length is told before. */
  known: boolean
  /** Whoever reads it takes breaths. */
  slow: boolean
  /** It is given up in the middle. */
  leaves: boolean
}

function planned(): Plan {
  const parts = Array.from({ length: 1 + random.int(12) }, () => randomBytes(1 + random.int(random.int(3) === 0 ? 200_000 : 9_000)))
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  return { parts, length, known: random.int(2) === 0, slow: random.int(4) === 0, leaves: random.int(6) === 0 }
}

/** Runs all tasks, several at a time; rejects with the first one's failure. */
async function allOf(work: (plan: Plan) => Promise<void>): Promise<void> {
  const plans = Array.from({ length: TASKS }, planned)
  const lane = async () => {
    for (let plan = plans.pop(); plan; plan = plans.pop()) await work(plan)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, lane))
}

/** Sends the parts, reads the answer meanwhile, and compares. */
async function streamed(plan: Plan, call: NodeJS.WritableStream & { destroy(): void }, answered: () => Promise<Readable>): Promise<void> {
  let left = false
  call.on('error', (error) => assert.ok(left, error))
  const sent = createHash('sha256')
  const reading = read(plan, answered)
  for (const [index, part] of plan.parts.entries()) {
    if (plan.leaves && index === plan.parts.length >> 1) {
      left = true
      call.destroy()
      await reading.catch(() => {})
      return
    }
    sent.update(part)
    if (!call.write(part)) await once(call, 'drain')
    if (plan.slow) await turn()
  }
  call.end()
  assert.equal(await reading, sent.digest('hex'))
}

async function read(plan: Plan, answered: () => Promise<Readable>): Promise<string> {
  const got = createHash('sha256')
  for await (const chunk of await answered()) {
    got.update(chunk as Buffer)
    if (plan.slow) for (let breath = 0; breath < 20; breath++) await turn()
  }
  return got.digest('hex')
}

function framed(message: Buffer): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(message.length, 1)
  return Buffer.concat([head, message])
}

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

function start(appId: string, args: readonly string[]): Promise<SidecarProcess> {
  const dataDir = join(home, appId)
  mkdirSync(dataDir)
  // They find each other by this folder.
  return startSidecar({ appId, dataDir, args: [...args, `--outrider-data-dir=${home}`] })
}

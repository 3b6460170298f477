import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { createGrpcClient } from '../src/transport/grpc/client.ts'
import { type SidecarProcess, startSidecar } from './sidecar.ts'

// API token and app token from files: what they admit, how they change, and that they are never told.
const home = mkdtempSync(join(tmpdir(), 'outrider-tokens-'))
const apiFile = join(home, 'tokens', 'api')
const appFile = join(home, 'tokens', 'app')
const CANARIES = ['canary-api-one', 'canary-api-two', 'canary-app-one', 'canary-app-two', 'canary-wrong-guess']
const seen: (string | undefined)[] = []
const app = createServer((request, response) => {
  seen.push(request.headers['dapr-api-token'] as string | undefined)
  response.end('well')
})
const said: string[] = []
let sidecar: SidecarProcess

/** As an editor or Kubernetes does it: another file takes the place. */
function put(file: string, text: string): void {
  writeFileSync(`${file}.new`, text)
  renameSync(`${file}.new`, file)
}

before(async () => {
  mkdirSync(join(home, 'tokens'))
  put(apiFile, 'canary-api-one\n')
  put(appFile, 'canary-app-one\n')
  app.listen(0, '127.0.0.1')
  await once(app, 'listening')
  sidecar = await startSidecar({
    appId: 'tokens',
    dataDir: home,
    appPort: (app.address() as AddressInfo).port,
    args: ['--log-level=debug', '--enable-api-logging'],
    env: { OUTRIDER_API_TOKEN_FILE: apiFile, OUTRIDER_APP_API_TOKEN_FILE: appFile, DAPR_API_TOKEN: '', APP_API_TOKEN: '' },
  })
})

after(async () => {
  await sidecar?.stop()
  app.closeAllConnections()
  app.close()
  rmSync(home, { recursive: true })
})

/** The status of a call to the app, and what was answered; all of it is kept for the search for canaries. */
async function call(token?: string, path = '/v1.0/invoke/tokens/method/x'): Promise<number> {
  const reply = await fetch(sidecar.http + path, { headers: token === undefined ? {} : { 'dapr-api-token': token } })
  said.push(JSON.stringify([...reply.headers]), await reply.text())
  return reply.status
}

async function grpc(token?: string): Promise<string> {
  const client = createGrpcClient()
  const headers = token === undefined ? {} : { 'dapr-api-token': token }
  try {
    await client.unary(sidecar.grpc, '/dapr.proto.runtime.v1.Dapr/GetMetadata', Buffer.alloc(0), { headers })
    return 'well'
  } catch (error) {
    said.push((error as Error).message)
    return (error as Error).message
  } finally {
    await client[Symbol.asyncDispose]()
  }
}

/** Waits for a line of the sidecar's log. */
async function logged(text: string): Promise<void> {
  const deadline = performance.now() + 10_000
  while (!sidecar.log().includes(text)) {
    if (performance.now() > deadline) throw new Error(`"${text}" was not logged:\n${sidecar.log()}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

test('tokens of the files are asked for and sent, over HTTP and gRPC', async () => {
  assert.deepEqual([await call(), await call('canary-wrong-guess'), await call(''), await call('canary-api-one')], [401, 401, 401, 200])
  assert.equal(seen.at(-1), 'canary-app-one')
  assert.equal(await grpc('canary-api-one'), 'well')
  assert.match(await grpc('canary-wrong-guess'), /Unauthorized/)
  assert.match(await grpc(), /Unauthorized/)
})

test('a change of the files counts at once; while both are there both are taken', async () => {
  put(apiFile, 'canary-api-two\ncanary-api-one\n')
  await logged('now holds 2 tokens')
  assert.deepEqual([await call('canary-api-one'), await call('canary-api-two')], [200, 200])
  put(apiFile, 'canary-api-two\n')
  await logged('api changed and now holds 1 token')
  assert.deepEqual([await call('canary-api-one'), await call('canary-api-two')], [401, 200])
  assert.equal(await grpc('canary-api-two'), 'well')
  assert.match(await grpc('canary-api-one'), /Unauthorized/)
  put(appFile, 'canary-app-two\n')
  await logged('app changed and now holds 1 token')
  assert.equal(await call('canary-api-two'), 200)
  assert.equal(seen.at(-1), 'canary-app-two')
})

test('a file that becomes unusable leaves the tokens from before', async () => {
  put(apiFile, '\n')
  await logged('the tokens from before stay in use: it holds no token')
  assert.deepEqual([await call(''), await call('canary-api-two')], [401, 200])
})

test('no token is ever told: not in logs, replies, metadata or metrics', async () => {
  assert.equal(await call('canary-api-two', '/v1.0/metadata'), 200)
  assert.equal(await call('canary-api-two', '/v1.0/invoke/nobody-here/method/x'), 500)
  assert.equal(await call('canary-api-two', '/v1.0/state/none/key'), 500)
  const metrics = await fetch(sidecar.metrics)
  const all = [sidecar.log(), await metrics.text(), ...said].join('\n')
  assert.ok(all.length > 2000)
  for (const canary of CANARIES) assert.equal(all.includes(canary), false, canary)
})

test('those of the environment are not told either', async () => {
  const tokens = { DAPR_API_TOKEN: 'canary-env-api', APP_API_TOKEN: 'canary-env-app' }
  await using other = await startSidecar({
    appId: 'env-tokens',
    dataDir: home,
    appPort: (app.address() as AddressInfo).port,
    args: ['--log-level=debug', '--enable-api-logging'],
    env: { ...tokens, OUTRIDER_API_TOKEN_FILE: '', OUTRIDER_APP_API_TOKEN_FILE: '' },
  })
  const told: string[] = []
  const ask = async (path: string, token: string) => {
    const reply = await fetch(other.http + path, { headers: { 'dapr-api-token': token } })
    told.push(JSON.stringify([...reply.headers]), await reply.text())
    return reply.status
  }
  assert.equal(await ask('/v1.0/invoke/env-tokens/method/x', tokens.DAPR_API_TOKEN), 200)
  assert.equal(seen.at(-1), tokens.APP_API_TOKEN)
  assert.equal(await ask('/v1.0/metadata', 'canary-env-guess'), 401)
  assert.equal(await ask('/v1.0/metadata', tokens.DAPR_API_TOKEN), 200)
  const metrics = await fetch(other.metrics)
  assert.equal([other.log(), await metrics.text(), ...told].join('\n').includes('canary-env'), false)
})

test('a file that is not there ends the start and is named', async () => {
  const missing = join(home, 'none')
  await assert.rejects(
    startSidecar({ appId: 'none', dataDir: home, env: { OUTRIDER_API_TOKEN_FILE: missing } }),
    /OUTRIDER_API_TOKEN_FILE: .*none is unusable: ENOENT/,
  )
})

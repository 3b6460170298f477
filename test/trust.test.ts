import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, createServer, request as httpRequest, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { createPeerClient } from '../src/peers/client.ts'
import { TRICKS, views } from '../src/peers/testing/path-tricks.ts'
import { createLogger } from '../src/telemetry/log.ts'
import { createGrpcClient } from '../src/transport/grpc/client.ts'
import { createGrpcServer } from '../src/transport/grpc/server.ts'
import { GrpcStatus } from '../src/transport/grpc/status.ts'
import { openIdentity } from '../src/transport/identity/open.ts'
import { startAuthority, type TestAuthority } from '../src/transport/identity/testing/authority.ts'
import type { WorkloadIdentity } from '../src/transport/identity/workload-identity.ts'
import { accepts, freePort } from './servers/process.ts'
import { type SidecarOptions, type SidecarProcess, startSidecar } from './sidecar.ts'

// Trust between real outriderds: an authority in this process, sidecars and their apps around it.
const home = mkdtempSync(join(tmpdir(), 'outrider-trust-'))
const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test', write: () => {} })
const reached: string[] = []
const app = createServer((request, response) => {
  reached.push(request.url as string)
  response.end('served')
})
const grpcApp = createGrpcServer({
  methods: new Map(),
  unknown: (path) => ({
    kind: 'unary',
    handle(message) {
      reached.push(path)
      return message
    },
  }),
})
let authority: TestAuthority
let grpcPort: number

before(async () => {
  authority = await startAuthority()
  app.listen(0, '127.0.0.1')
  await once(app, 'listening')
  grpcPort = await grpcApp.listen({ host: '127.0.0.1', port: 0 })
})

after(async () => {
  await authority.close()
  app.closeAllConnections()
  app.close()
  await grpcApp.close(0)
  rmSync(home, { recursive: true, force: true })
})

const appPort = () => (app.address() as AddressInfo).port

/** A sidecar with an identity; all of them share one folder, by which they find each other. */
function start(appId: string, options: Partial<SidecarOptions> = {}, at = authority): Promise<SidecarProcess> {
  const flags = ['--enable-mtls', `--sentry-address=${at.address}`, '--control-plane-trust-domain=localhost']
  return startSidecar({
    appId,
    dataDir: home,
    ...options,
    args: [...flags, ...(options.args ?? [])],
    env: { DAPR_TRUST_ANCHORS: at.root, NAMESPACE: 'default' },
  })
}

/** A Configuration in which `caller` may do all but these. */
function denying(file: string, operations: readonly string[]): string {
  const path = join(home, file)
  const rules = operations.map((name) => ({ name, httpVerb: ['*'], action: 'deny' }))
  const policy = { appId: 'caller', namespace: 'default', trustDomain: 'public', defaultAction: 'allow', operations: rules }
  const spec = { accessControl: { defaultAction: 'deny', trustDomain: 'public', policies: [policy] } }
  writeFileSync(path, JSON.stringify({ apiVersion: 'dapr.io/v1alpha1', kind: 'Configuration', metadata: { name: 'acl' }, spec }))
  return path
}

async function get(base: string, path: string, agent?: Agent): Promise<{ status: number; text: string }> {
  const { hostname, port } = new URL(base)
  // As it stands: a URL would be normalised on the way.
  const sent = httpRequest({ host: hostname, port, path, ...(agent && { agent }) }).end()
  const [reply] = (await once(sent, 'response')) as [IncomingMessage]
  let text = ''
  for await (const part of reply) text += part
  return { status: reply.statusCode as number, text }
}

/** No way in which a server may read what was delivered leads to what is denied. */
function harmless(trick: string, delivered: string | undefined): void {
  if (delivered === undefined) return
  for (const view of views(delivered)) assert.ok(!/^\/admin(\/|$)/.test(view), `${trick} reached the app as ${delivered}`)
}

test('tricks with paths through real sidecars: what is authorised is what is delivered', async () => {
  const args = [`--config=${denying('http.json', ['/admin'])}`]
  await using callee = await start('callee', { appPort: appPort(), args })
  await using caller = await start('caller')
  let served = 0
  for (const trick of TRICKS) {
    reached.length = 0
    const reply = await get(caller.http, `/v1.0/invoke/callee/method/${trick}`)
    assert.equal(reached.length, reply.status === 200 ? 1 : 0, `${trick}: ${reply.status} ${reply.text}`)
    harmless(trick, reached[0])
    served += reached.length
  }
  assert.ok(served > 3 && served < TRICKS.length, `${served} of ${TRICKS.length} served`)

  // The same by a caller with a certificate and no manners, straight to the internal port.
  const options = { controlPlaneTrustDomain: 'localhost', controlPlaneNamespace: 'default', appId: 'caller', namespace: 'default', log }
  using identity = (await openIdentity(
    { ...options, sentryAddress: authority.address, trustAnchors: authority.root },
    new AbortController().signal,
  )) as WorkloadIdentity
  await using grpc = createGrpcClient({ tls: identity.dial })
  await using peers = createPeerClient({ appId: 'caller', namespace: 'default', grpc })
  served = 0
  for (const trick of [...TRICKS, 'admin\u0000', 'public\u0000/../admin', 'admin#', '../../admin', 'admin?x']) {
    reached.length = 0
    const status = await new Promise<number>((resolve) => {
      let answered = 0
      const invocation = { verb: 'GET', method: trick, query: '', headers: [], contentType: undefined, length: undefined, body: undefined }
      peers.invoke(`127.0.0.1:${callee.internal}/ns/default/callee`, 'callee', invocation, {
        head: (code) => {
          answered = code
        },
        data() {},
        end: () => resolve(answered),
        failed: () => resolve(0),
      })
    })
    assert.equal(reached.length, status === 200 ? 1 : 0, `${trick}: ${status}`)
    harmless(trick, reached[0])
    served += reached.length
  }
  assert.ok(served > 3, `${served} served`)
})

test('tricks with gRPC methods through real sidecars: the rule is held on the path that goes on', async () => {
  const args = ['--app-protocol=grpc', `--config=${denying('grpc.json', ['/pkg.Shut'])}`]
  await using _ = await start('grpc-callee', { appPort: grpcPort, args })
  await using caller = await start('caller')
  await using client = createGrpcClient()
  const rows: [path: string, delivered: string | undefined][] = [
    ['/pkg.Open/Do', '/pkg.Open/Do'],
    ['/pkg.Shut/Do', undefined],
    ['//pkg.Shut/Do', undefined],
    ['/pkg.Shut//Do', undefined],
    ['/./pkg.Shut/Do', undefined],
    ['/pkg.Open/../pkg.Shut/Do', undefined],
    ['/pkg.Shut/Do/', undefined],
    ['/pkg.Shut/../pkg.Open/Do', '/pkg.Open/Do'],
    // A gRPC server compares bytes: these are methods of other names, and go on as they are.
    ['/pkg.Shut%2FDo', '/pkg.Shut%2FDo'],
    ['/pkg%2eShut/Do', '/pkg%2eShut/Do'],
    ['/PKG.SHUT/Do', '/PKG.SHUT/Do'],
    ['/pkg.Shut;x/Do', '/pkg.Shut;x/Do'],
    ['/pkg.Open/..%2Fpkg.Shut/Do', '/pkg.Open/..%2Fpkg.Shut/Do'],
  ]
  for (const [path, delivered] of rows) {
    reached.length = 0
    const failed = await client
      .unary(caller.grpc, path, Buffer.from('x'), { headers: { 'dapr-app-id': 'grpc-callee' } })
      .then(() => undefined, GrpcStatus.from)
    assert.deepEqual([reached[0], failed?.code], [delivered, delivered === undefined ? 7 : undefined], `${path}: ${failed?.message}`)
  }
})

test('a rate limit for each caller goes by the certificate, whatever the caller calls itself', async () => {
  const resources = join(home, 'limits')
  mkdirSync(resources)
  const spec = {
    policies: { rateLimits: { two: { requestsPerSecond: 0.001, burst: 2, per: 'caller' } } },
    targets: { inbound: { rateLimit: 'two' } },
  }
  const policy = { apiVersion: 'outrider.dev/v1', kind: 'TrafficPolicy', metadata: { name: 'limits' }, spec }
  writeFileSync(join(resources, 'limits.yaml'), JSON.stringify(policy))
  await using callee = await start('limited', { appPort: appPort(), resources })
  const call = async (certified: string, claimed: string): Promise<string> => {
    using identity = (await openIdentity(
      {
        controlPlaneTrustDomain: 'localhost',
        controlPlaneNamespace: 'default',
        appId: certified,
        namespace: 'default',
        log,
        sentryAddress: authority.address,
        trustAnchors: authority.root,
      },
      new AbortController().signal,
    )) as WorkloadIdentity
    await using grpc = createGrpcClient({ tls: identity.dial })
    await using peers = createPeerClient({ appId: claimed, namespace: 'default', grpc })
    return await new Promise((resolve, reject) => {
      let text = ''
      const invocation = { verb: 'GET', method: 'x', query: '', headers: [], contentType: undefined, length: undefined, body: undefined }
      peers.invoke(`127.0.0.1:${callee.internal}/ns/default/limited`, 'limited', invocation, {
        head: (status) => {
          text = `${status} `
        },
        data: (chunk) => {
          text += chunk
        },
        end: () => resolve(text),
        failed: reject,
      })
    })
  }
  assert.deepEqual([await call('greedy', 'a'), await call('greedy', 'b')], ['200 served', '200 served'])
  assert.match(await call('greedy', 'c'), /^429 .*caller spiffe:\/\/public\/ns\/default\/greedy reached/)
  assert.equal(await call('modest', 'greedy'), '200 served')
})

test('nothing listens before there is an identity, everything after', async () => {
  await using late = await startAuthority()
  const { address } = late
  await late.close()
  const { promise: spawned, resolve: onSpawn } = Promise.withResolvers<{ ports: readonly number[]; log(): string }>()
  const starting = start('late', { appPort: appPort(), onSpawn }, late)
  const { ports, log: told } = await spawned
  const deadline = performance.now() + 10_000
  while (!told().includes('nothing listens before there is one')) {
    assert.ok(performance.now() < deadline, told())
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  for (const port of ports) assert.equal(await accepts('127.0.0.1', port), false, `port ${port} is open`)
  await late.reopen()
  assert.equal(late.address, address)
  await using _ = await starting
  for (const port of ports) assert.equal(await accepts('127.0.0.1', port), true, `port ${port} is not open`)
})

test('certificates that live for six seconds are renewed under load, and no call fails', async () => {
  authority.life = 6000
  try {
    await using callee = await start('short', { appPort: appPort() })
    await using caller = await start('caller')
    const agent = new Agent({ keepAlive: true, maxSockets: 8 })
    const renewed = (told: string) => told.split('is valid until').length - 2
    let calls = 0
    const failed: string[] = []
    const deadline = performance.now() + 60_000
    const loop = async () => {
      while ((renewed(callee.log()) < 2 || renewed(caller.log()) < 2) && performance.now() < deadline) {
        const { status, text } = await get(caller.http, '/v1.0/invoke/short/method/x', agent)
        calls++
        if (status !== 200) failed.push(text)
      }
    }
    await Promise.all(Array.from({ length: 8 }, loop))
    agent.destroy()
    assert.deepEqual(failed, [])
    assert.ok(renewed(callee.log()) >= 2 && renewed(caller.log()) >= 2, callee.log())
    assert.ok(calls > 200, `${calls} calls`)
  } finally {
    authority.life = 86_400_000
  }
})

test("a proxy's service that is an app is called through the sidecar, by its identity", async () => {
  await using callee = await start('proxied', { appPort: appPort(), args: [`--config=${denying('proxied.json', ['/admin'])}`] })
  const resources = join(home, 'proxy')
  mkdirSync(resources)
  const port = await freePort()
  const spec = { explicit: port, services: { shop: { app: 'proxied' } } }
  const text = JSON.stringify({ apiVersion: 'outrider.dev/v1', kind: 'Proxy', metadata: { name: 'mesh' }, spec })
  writeFileSync(join(resources, 'proxy.yaml'), text)
  await using _caller = await start('caller', { resources, args: [`--outrider-agent-port=${await freePort()}`] })
  reached.length = 0
  assert.deepEqual(await get(`http://127.0.0.1:${port}`, '/proxy/shop/orders/1?a=b'), { status: 200, text: 'served' })
  assert.deepEqual(reached, ['/orders/1?a=b'])
  assert.equal((await get(`http://127.0.0.1:${port}`, '/proxy/shop/admin')).status, 403, callee.log())
})

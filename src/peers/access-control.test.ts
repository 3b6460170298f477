import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, request as httpRequest } from 'node:http'
import { connect } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'
import { invokeHandler } from '../api/http/routes/invoke.ts'
import { HttpApi } from '../api/http/server.ts'
import type { App } from '../app/app.ts'
import { createGrpcChannel } from '../app/grpc-channel.ts'
import { createHttpChannel } from '../app/http-channel.ts'
import { createInvokeBlock } from '../blocks/invoke/block.ts'
import { createGrpcProxy } from '../blocks/invoke/proxy.ts'
import { createAccessControl } from '../policy/access-control.ts'
import type { AccessControlSpec } from '../resources/configuration-spec.ts'
import type { Logger } from '../telemetry/log.ts'
import { createGrpcClient } from '../transport/grpc/client.ts'
import { createGrpcServer } from '../transport/grpc/server.ts'
import { openIdentity } from '../transport/identity/open.ts'
import { startAuthority, type TestAuthority } from '../transport/identity/testing/authority.ts'
import type { WorkloadIdentity } from '../transport/identity/workload-identity.ts'
import { createPeerClient } from './client.ts'
import { identifiedResolver } from './identified-resolver.ts'
import type { Resolver } from './resolver.ts'
import { createPeerServer } from './server.ts'
import { TRICKS, views } from './testing/path-tricks.ts'

const quiet: Logger = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  fatal: () => {},
  scope: () => quiet,
  enabled: () => false,
}

async function identityOf(authority: TestAuthority, appId: string): Promise<WorkloadIdentity> {
  const options = {
    sentryAddress: authority.address,
    controlPlaneTrustDomain: 'localhost',
    controlPlaneNamespace: 'default',
    appId,
    namespace: 'default',
    trustAnchors: authority.root,
    log: quiet,
  }
  return (await openIdentity(options, new AbortController().signal)) as WorkloadIdentity
}

/** Always the one address. */
function fixedResolver(port: number): Resolver {
  return {
    resolve: () => [{ host: '127.0.0.1', port }],
    register: async () => ({ [Symbol.asyncDispose]: async () => {} }),
    invalidate: () => {},
    [Symbol.asyncDispose]: async () => {},
  }
}

/** `caller`'s HTTP API, and `callee` behind mTLS with this access control, over an HTTP app that tells the request line's path. */
async function fleet(spec: AccessControlSpec) {
  const delivered: string[] = []
  const app = createServer((request, response) => {
    delivered.push(request.url as string)
    response.end('served')
  }).listen(0, '127.0.0.1')
  await once(app, 'listening')
  const authority = await startAuthority()
  const [caller, callee] = [await identityOf(authority, 'caller'), await identityOf(authority, 'callee')]
  const channel = createHttpChannel({ port: (app.address() as AddressInfo).port })
  const common = { namespace: 'default', app: { wire: 'http', channel } satisfies App as App }
  const server = await createPeerServer({
    ...common,
    host: '127.0.0.1',
    port: 0,
    appId: 'callee',
    mutual: callee,
    authorize: createAccessControl(spec, true, quiet),
  })
  const grpc = createGrpcClient({ tls: caller.dial })
  const peers = createPeerClient({ appId: 'caller', namespace: 'default', grpc })
  const resolver = identifiedResolver(fixedResolver(server.port))
  const block = createInvokeBlock({ appId: 'caller', namespace: 'default', peers, resolver })
  const api = new HttpApi({
    routes: [],
    fallback: invokeHandler(block, { maxBodySize: 0 }),
    maxBodySize: 0,
    readBufferSize: 8192,
    h2c: true,
  })
  const port = await api.listen({ host: '127.0.0.1', port: 0 })
  return {
    delivered,
    server,
    /** Sends the path as it stands; the status, and what reached the app. */
    async send(path: string, method = 'GET') {
      delivered.length = 0
      const request = httpRequest({ port, host: '127.0.0.1', path: `/v1.0/invoke/callee/method/${path}`, method }).end()
      const [response] = await once(request, 'response')
      let text = ''
      for await (const chunk of response) text += chunk
      return { status: response.statusCode as number, text, app: delivered[0] }
    },
    async [Symbol.asyncDispose]() {
      app.closeAllConnections()
      app.close()
      await Promise.all([api.close(0), server.close(0), grpc[Symbol.asyncDispose](), channel[Symbol.asyncDispose](), authority.close()])
      caller[Symbol.dispose]()
      callee[Symbol.dispose]()
    },
  }
}

const POLICY = { appId: 'caller', namespace: 'default', trustDomain: 'public' }

test('tricks with paths, all allowed but /admin: nothing that any app reads as /admin is delivered', async () => {
  await using both = await fleet({
    defaultAction: 'allow',
    policies: [{ ...POLICY, operations: [{ name: '/admin', httpVerb: ['*'], action: 'deny' }] }],
  })
  let served = 0
  for (const trick of TRICKS) {
    const reply = await both.send(trick)
    assert.equal(reply.app !== undefined, reply.status === 200, `${trick}: ${reply.status} ${reply.text}`)
    if (reply.app === undefined) continue
    served++
    for (const view of views(reply.app))
      assert.ok(view !== '/admin' && !view.startsWith('/admin/'), `${trick} reached the app as ${reply.app}`)
  }
  assert.ok(served > 3, 'the test must not pass because everything is refused')
  assert.equal((await both.send('administrator')).app, '/administrator')
})

test('tricks with paths, nothing allowed but /public: nothing that any app reads otherwise is delivered', async () => {
  await using both = await fleet({
    defaultAction: 'deny',
    policies: [{ ...POLICY, operations: [{ name: '/public', httpVerb: ['*'], action: 'allow' }] }],
  })
  for (const trick of TRICKS) {
    const reply = await both.send(trick)
    assert.equal(reply.app !== undefined, reply.status === 200, `${trick}: ${reply.status} ${reply.text}`)
    if (reply.app === undefined) continue
    // As it is, a path may hold what its decoded form does not.
    for (const view of views(reply.app).slice(1)) assert.match(view, /^\/public(\/|$)/, `${trick} reached the app as ${reply.app}`)
  }
  const fine: [string, string][] = [
    ['public', '/public'],
    ['PUBLIC/x', '/PUBLIC/x'],
    ['admin/../public', '/public'],
    ['admin%2F..%2Fpublic', '/public'],
    ['public/a%20b', '/public/a%20b'],
    ['public?q=%2e%2e/admin', '/public?q=%2e%2e/admin'],
  ]
  for (const [path, expected] of fine) assert.equal((await both.send(path)).app, expected)
})

test('a refusal is 403 and names caller, operation and verb', async () => {
  await using both = await fleet({ defaultAction: 'deny', policies: [] })
  const { status, text } = await both.send('x/y', 'PUT')
  assert.equal(status, 403)
  const { errorCode, message } = JSON.parse(text)
  assert.equal(errorCode, 'ERR_DIRECT_INVOKE')
  assert.equal(
    message,
    'failed to invoke, id: callee, err: rpc error: code = PermissionDenied desc = access control policy has denied access to id: spiffe://public/ns/default/caller operation: x/y verb: PUT',
  )
})

test('a proxied gRPC call is judged by the path that goes on, and by the certificate, not by what its metadata says', async () => {
  const paths: string[] = []
  const app = createGrpcServer({
    methods: new Map(),
    unknown: (path) => ({
      kind: 'unary',
      handle() {
        paths.push(path)
        return Buffer.alloc(0)
      },
    }),
  })
  const appPort = await app.listen({ host: '127.0.0.1', port: 0 })
  const channel = createGrpcChannel({ host: '127.0.0.1', port: appPort, protocol: 'grpc' })
  await using authority = await startAuthority()
  using callee = await identityOf(authority, 'callee')
  using caller = await identityOf(authority, 'caller')
  using other = await identityOf(authority, 'other')
  const spec = { defaultAction: 'deny', policies: [{ ...POLICY, operations: [{ name: '/pkg.Open/*', action: 'allow' }] }] }
  const proxy = createGrpcProxy({
    appId: 'callee',
    namespace: 'default',
    app: { wire: 'grpc', channel },
    grpc: createGrpcClient(),
    resolver: fixedResolver(1),
    maxMessageSize: 1000,
    authorize: createAccessControl(spec, false, quiet),
  })
  const server = await createPeerServer({
    host: '127.0.0.1',
    port: 0,
    appId: 'callee',
    namespace: 'default',
    mutual: callee,
    unknown: () => proxy.fromPeer,
  })
  const call = async (identity: WorkloadIdentity, path: string) => {
    const { key, cert, ca } = identity.options
    const session = connect('https://127.0.0.1', {
      createConnection: () =>
        connectTls({
          host: '127.0.0.1',
          port: server.port,
          ALPNProtocols: ['h2'],
          key,
          cert,
          ca,
          checkServerIdentity: () => undefined,
        } as ConnectionOptions),
    })
    const stream = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
      'dapr-callee-app-id': 'callee',
      'dapr-caller-app-id': 'caller',
    })
    let status: unknown
    stream.on('response', (headers) => {
      status = headers['grpc-status']
    })
    stream.on('trailers', (headers) => {
      status ??= headers['grpc-status']
    })
    stream.end(Buffer.alloc(5)).resume()
    await once(stream, 'close')
    session.destroy()
    return Number(status)
  }
  assert.equal(await call(caller, '/pkg.Open/Do'), 0)
  assert.equal(await call(caller, '/pkg.Open//Do'), 0)
  assert.equal(await call(caller, '/pkg.Shut/../pkg.Open/Do'), 0)
  assert.deepEqual(paths, ['/pkg.Open/Do', '/pkg.Open/Do', '/pkg.Open/Do'])
  assert.equal(await call(caller, '/pkg.Open/../pkg.Shut/Do'), 7)
  assert.equal(await call(caller, '/pkg.Open/Do%2f..'), 0)
  assert.equal(await call(caller, '/pkg.open/Do'), 7)
  assert.equal(await call(other, '/pkg.Open/Do'), 7, 'the metadata claims another caller')
  assert.equal(paths.length, 4)

  // The whole way: app → caller's API → mTLS → callee → its app.
  const peerGrpc = createGrpcClient({ tls: caller.dial })
  const outer = createGrpcProxy({
    appId: 'caller',
    namespace: 'default',
    grpc: peerGrpc,
    resolver: identifiedResolver(fixedResolver(server.port)),
    maxMessageSize: 1000,
  })
  const api = createGrpcServer({ methods: new Map(), unknown: () => outer.fromApp })
  const apiPort = await api.listen({ host: '127.0.0.1', port: 0 })
  const client = createGrpcClient()
  const through = (path: string) => client.unary(`127.0.0.1:${apiPort}`, path, Buffer.alloc(0), { headers: { 'dapr-app-id': 'callee' } })
  assert.deepEqual(await through('/pkg.Open/Do'), Buffer.alloc(0))
  await assert.rejects(
    through('/pkg.Shut/Do'),
    /denied access to id: spiffe:\/\/public\/ns\/default\/caller operation: \/pkg.Shut\/Do verb: NONE/,
  )
  assert.equal(paths.length, 5)
  await Promise.all([client[Symbol.asyncDispose](), api.close(0), peerGrpc[Symbol.asyncDispose]()])
  await Promise.all([server.close(0), app.close(0), channel[Symbol.asyncDispose]()])
})

import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Code } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import { createGrpcClient } from '../grpc/client.ts'
import { createGrpcServer, type GrpcMethod } from '../grpc/server.ts'
import { GrpcStatus } from '../grpc/status.ts'
import { certificateRequest } from './csr.ts'
import { openIdentity } from './open.ts'
import { parseSpiffeId, spiffeIdOf } from './spiffe.ts'
import { startAuthority, type TestAuthority } from './testing/authority.ts'
import { renewalDelay, type WorkloadIdentity } from './workload-identity.ts'

/** A log whose lines can be waited for. */
function recorder() {
  const lines: string[] = []
  const waiting: { pattern: RegExp; resolve: () => void }[] = []
  const write = (line: string) => {
    lines.push(line)
    for (const { pattern, resolve } of waiting) if (pattern.test(line)) resolve()
  }
  const log: Logger = { debug: write, info: write, warn: write, error: write, fatal: write, scope: () => log, enabled: () => true }
  const until = (pattern: RegExp) =>
    new Promise<void>((resolve) => (lines.some((line) => pattern.test(line)) ? resolve() : waiting.push({ pattern, resolve })))
  return { log, lines, until }
}

function optionsFor(authority: TestAuthority, appId: string, log: Logger) {
  return {
    sentryAddress: authority.address,
    controlPlaneTrustDomain: 'localhost',
    controlPlaneNamespace: 'default',
    appId,
    namespace: 'default',
    trustAnchors: authority.root,
    log,
  }
}

async function identityOf(authority: TestAuthority, appId: string, log = recorder().log): Promise<WorkloadIdentity> {
  return (await openIdentity(optionsFor(authority, appId, log), new AbortController().signal)) as WorkloadIdentity
}

const whoami: GrpcMethod = { kind: 'unary', handle: (_, call) => Buffer.from(call.peer?.uri ?? 'nobody') }

async function serve(identity: WorkloadIdentity) {
  const server = createGrpcServer({ methods: new Map([['/s.T/whoami', whoami]]) })
  const port = await server.listen({ host: '127.0.0.1', port: 0, mutual: identity })
  return { port, [Symbol.asyncDispose]: () => server.close(0) }
}

const NOTHING = Buffer.alloc(0)

test('a certificate request is one that OpenSSL reads and whose signature holds', () => {
  const request = certificateRequest(generateKeyPairSync('ed25519'))
  const text = execFileSync('openssl', ['req', '-noout', '-text', '-verify'], {
    input: request,
    stdio: ['pipe', 'pipe', 'pipe'],
  }).toString()
  assert.match(text, /Subject: *\n/)
  assert.match(text, /ED25519 Public-Key/)
  const broken = Buffer.from(request.replace(/-----[^-]+-----|\s/g, ''), 'base64')
  broken[broken.length - 1] = (broken.at(-1) as number) ^ 1
  const again = `-----BEGIN CERTIFICATE REQUEST-----\n${broken.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`
  assert.match(String(spawnSync('openssl', ['req', '-noout', '-verify'], { input: again }).stderr), /failure|error/i)
})

test('SPIFFE ids: the form Dapr writes, and nothing that only looks like it', () => {
  assert.deepEqual(parseSpiffeId('spiffe://public/ns/default/orders'), {
    uri: 'spiffe://public/ns/default/orders',
    trustDomain: 'public',
    path: '/ns/default/orders',
    namespace: 'default',
    appId: 'orders',
  })
  for (const bad of [
    'spiffe://public/ns/default',
    'spiffe://public/ns//orders',
    'spiffe://Public/ns/default/orders',
    'spiffe://public/ns/../orders',
    'spiffe://public/sa/default/orders',
    'spiffe://public/ns/default/or%2fders',
    'https://public/ns/default/orders',
    'spiffe://public/ns/default/orders?x',
    '"spiffe://public/ns/default/orders"',
  ])
    assert.equal(parseSpiffeId(bad), undefined, bad)
  const named = (subjectAltName: string) => spiffeIdOf({ subjectAltName })?.uri
  assert.equal(named('DNS:x, URI:spiffe://a/ns/b/c'), 'spiffe://a/ns/b/c')
  assert.equal(named('URI:spiffe://a/ns/b/c, URI:spiffe://a/ns/b/d'), undefined)
  assert.equal(named('DNS:"x, URI:spiffe://a/ns/b/c"'), undefined)
  assert.equal(named('DNS:x'), undefined)
})

test('two identities of one authority: each side knows the other, whoever else comes is not served', async () => {
  await using authority = await startAuthority()
  await using stranger = await startAuthority()
  using callee = await identityOf(authority, 'callee')
  using caller = await identityOf(authority, 'caller')
  using foreign = await identityOf(stranger, 'caller')
  assert.equal(callee.id.uri, 'spiffe://public/ns/default/callee')
  await using server = await serve(callee)
  const at = (identity: string) => `127.0.0.1:${server.port}${identity}`
  await using client = createGrpcClient({ tls: caller.dial })
  assert.equal(String(await client.unary(at('/ns/default/callee'), '/s.T/whoami', NOTHING)), 'spiffe://public/ns/default/caller')
  const refused = async (address: string, tls: WorkloadIdentity['dial'] | object | undefined) => {
    await using other = createGrpcClient({ tls })
    return await other.unary(address, '/s.T/whoami', NOTHING).then(
      () => assert.fail('served'),
      (error: unknown) => GrpcStatus.from(error),
    )
  }
  assert.match(
    (await refused(at('/ns/default/other'), caller.dial)).message,
    /unexpected SPIFFE ID: "spiffe:\/\/public\/ns\/default\/callee"/,
  )
  assert.match((await refused(at('/ns/elsewhere/callee'), caller.dial)).message, /unexpected SPIFFE ID/)
  assert.match((await refused(at(''), caller.dial)).message, /unexpected SPIFFE ID/)
  // A connection that was refused is not used again.
  await using stubborn = createGrpcClient({ tls: { rejectUnauthorized: false } })
  for (let i = 0; i < 3; i++) await assert.rejects(stubborn.unary(at(''), '/s.T/whoami', NOTHING), /certificate required|was lost/)
  // Its own authority vouches for it, ours does not know that one.
  assert.equal((await refused(at('/ns/default/callee'), foreign.dial)).code, Code.Unavailable)
  const blind = { rejectUnauthorized: false }
  const { key, cert } = foreign.options
  assert.equal((await refused(at(''), { ...blind, key, cert })).code, Code.Unavailable, 'a certificate of another authority')
  assert.equal((await refused(at(''), blind)).code, Code.Unavailable, 'no certificate')
  assert.equal((await refused(at(''), undefined)).code, Code.Unavailable, 'cleartext')
  const pair = generateKeyPairSync('ed25519')
  const unnamed = {
    ...blind,
    key: pair.privateKey.export({ type: 'pkcs8', format: 'pem' }),
    cert: authority.issue('https://public/ns/default/caller', pair.publicKey),
  }
  assert.equal((await refused(at(''), unnamed)).code, Code.Unavailable, 'a certificate without a SPIFFE id')
})

test('renewal at half of the life: later handshakes use the new certificate, calls under way go on', async () => {
  await using authority = await startAuthority()
  authority.life = 4000
  const { log, until } = recorder()
  using callee = await identityOf(authority, 'callee', log)
  const first = new X509Certificate(callee.options.cert as string).fingerprint256
  using caller = await identityOf(authority, 'caller')
  let finish: (() => void) | undefined
  const begun = Promise.withResolvers<void>()
  const slow: GrpcMethod = {
    kind: 'unary',
    handle: () =>
      new Promise((resolve) => {
        finish = () => resolve(Buffer.from('done'))
        begun.resolve()
      }),
  }
  const server = createGrpcServer({
    methods: new Map([
      ['/s.T/slow', slow],
      ['/s.T/whoami', whoami],
    ]),
  })
  const port = await server.listen({ host: '127.0.0.1', port: 0, mutual: callee })
  const address = `127.0.0.1:${port}/ns/default/callee`
  await using client = createGrpcClient({ tls: caller.dial })
  caller.onChange = () => client.forget()
  const under = client.unary(address, '/s.T/slow', NOTHING)
  await begun.promise
  // None of the calls made meanwhile fails, whichever certificate its connection was made with.
  while (callee.renewals < 2 || caller.renewals < 2) {
    const names = await Promise.all(Array.from({ length: 8 }, () => client.unary(address, '/s.T/whoami', NOTHING)))
    for (const name of names) assert.equal(String(name), 'spiffe://public/ns/default/caller')
  }
  assert.notEqual(new X509Certificate(callee.options.cert as string).fingerprint256, first)
  await using fresh = createGrpcClient({ tls: caller.dial })
  assert.equal(String(await fresh.unary(address, '/s.T/whoami', NOTHING)), 'spiffe://public/ns/default/caller')
  finish?.()
  assert.equal(String(await under), 'done')
  // The authority fails: what we have stays in use, and is said so.
  authority.refusal = new GrpcStatus(Code.Internal, 'out of order')
  await until(/could not be renewed: out of order; it stays valid until/)
  await server.close(0)
})

test('an authority whose clock differs by minutes: its certificates serve, and are not renewed in a rush', async () => {
  await using authority = await startAuthority()
  for (const skew of [600_000, -600_000]) {
    authority.skew = skew
    using callee = await identityOf(authority, 'callee')
    using caller = await identityOf(authority, 'caller')
    await using server = await serve(callee)
    await using client = createGrpcClient({ tls: caller.dial })
    const name = await client.unary(`127.0.0.1:${server.port}/ns/default/callee`, '/s.T/whoami', NOTHING)
    assert.equal(String(name), 'spiffe://public/ns/default/caller', `clock ahead by ${skew}`)
    assert.deepEqual([callee.renewals, caller.renewals], [0, 0])
  }
  // Further ahead than it dates back: no peer takes the certificate yet, and the caller hears why.
  authority.skew = 1_800_000
  using early = await identityOf(authority, 'callee')
  authority.skew = 0
  using caller = await identityOf(authority, 'caller')
  await using server = await serve(early)
  await using client = createGrpcClient({ tls: caller.dial })
  await assert.rejects(client.unary(`127.0.0.1:${server.port}/ns/default/callee`, '/s.T/whoami', NOTHING), /not yet valid/)
})

test('a file of trust anchors is followed: a root added is trusted at once, one taken away no more', async () => {
  await using old = await startAuthority()
  await using next = await startAuthority()
  const folder = mkdtempSync(join(tmpdir(), 'anchors-'))
  const file = join(folder, 'ca.crt')
  const replace = (text: string) => {
    writeFileSync(`${file}.new`, text)
    renameSync(`${file}.new`, file)
  }
  replace(old.root)
  const { log, until } = recorder()
  const { trustAnchors: _, ...rest } = optionsFor(old, 'callee', log)
  using callee = (await openIdentity({ ...rest, trustAnchorsFile: file }, new AbortController().signal)) as WorkloadIdentity
  using caller = await identityOf(next, 'caller')
  await using server = await serve(callee)
  const options = { key: caller.options.key, cert: caller.options.cert, rejectUnauthorized: false }
  const call = async () => {
    await using client = createGrpcClient({ tls: options })
    return await client
      .unary(`127.0.0.1:${server.port}`, '/s.T/whoami', NOTHING)
      .then(String, (error: unknown) => GrpcStatus.from(error).code)
  }
  assert.equal(await call(), Code.Unavailable)
  const changed = () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    callee.onChange = resolve
    return promise
  }
  let change = changed()
  replace(old.root + next.root)
  await change
  assert.equal(await call(), 'spiffe://public/ns/default/caller')
  replace('not a certificate')
  await until(/cannot be read, those from before stay in use: it holds no PEM block/)
  assert.equal(await call(), 'spiffe://public/ns/default/caller')
  change = changed()
  replace(old.root)
  await change
  assert.equal(await call(), Code.Unavailable)
  rmSync(folder, { recursive: true })
})

test('an authority that is not there yet is waited for; one that refuses, or is another, ends the start', async () => {
  await using authority = await startAuthority()
  await authority.close()
  const { log, until } = recorder()
  const waiting = identityOf(authority, 'early', log)
  await until(/no identity yet, and nothing listens before there is one: .*cannot reach/)
  await authority.reopen()
  using early = await waiting
  assert.equal(early.id.appId, 'early')

  const signal = new AbortController().signal
  const open = (change: object) => openIdentity({ ...optionsFor(authority, 'app', recorder().log), ...change }, signal)
  await assert.rejects(open({ sentryAddress: '' }), /give --sentry-address/)
  await assert.rejects(open({ trustAnchors: undefined }), /trust anchors are required .*DAPR_TRUST_ANCHORS/)
  await assert.rejects(open({ trustAnchors: 'x' }), /DAPR_TRUST_ANCHORS are unusable/)
  await assert.rejects(open({ trustAnchorsFile: '/nowhere' }), /given twice/)
  await assert.rejects(open({ trustAnchors: undefined, trustAnchorsFile: '/nowhere' }), /trust anchors file \/nowhere is unusable/)
  await assert.rejects(open({ controlPlaneTrustDomain: 'other' }), /is not the one expected: .*dapr-sentry, expected spiffe:\/\/other\//)
  await using stranger = await startAuthority()
  await assert.rejects(open({ trustAnchors: stranger.root }), /is not trusted: .*must hold its ca\.crt/)
  await assert.rejects(open({ tokenFile: '/nowhere' }), /sentry token file \/nowhere cannot be read/)
  authority.refusal = new GrpcStatus(Code.PermissionDenied, 'no such app')
  await assert.rejects(open({}), /refused to sign: .*no such app/)
  authority.refusal = undefined

  const stop = new AbortController()
  await authority.close()
  const late = recorder()
  const stopped = openIdentity(optionsFor(authority, 'late', late.log), stop.signal)
  await late.until(/no identity yet/)
  stop.abort()
  assert.equal(await stopped, undefined)
  await authority.reopen()
})

test('a token file is sent anew with each request, for the JWKS validator', async () => {
  await using authority = await startAuthority()
  const folder = mkdtempSync(join(tmpdir(), 'token-'))
  const tokenFile = join(folder, 'token')
  writeFileSync(tokenFile, 'secret-token')
  const { log, lines } = recorder()
  const options = { ...optionsFor(authority, 'app', log), tokenFile }
  using _ = (await openIdentity(options, new AbortController().signal)) as WorkloadIdentity
  assert.deepEqual(
    authority.requests.map(({ id, namespace, token, tokenValidator }) => ({ id, namespace, token, tokenValidator })),
    [{ id: 'app', namespace: 'default', token: 'secret-token', tokenValidator: 3 }],
  )
  assert.ok(!lines.join().includes('secret-token'))
  rmSync(folder, { recursive: true })
})

test('renewal comes at half of the life, and never in a rush when clocks differ', () => {
  const hour = 3_600_000
  assert.equal(renewalDelay(0, 24 * hour, 0), 12 * hour)
  assert.equal(renewalDelay(0, 24 * hour, 10 * hour), 2 * hour)
  assert.equal(renewalDelay(0, 24 * hour, 20 * hour), 2 * hour, 'our clock is ahead: half of what is left')
  assert.equal(renewalDelay(0, 24 * hour, 30 * hour), 12 * hour, 'it seems expired already')
  assert.equal(renewalDelay(0, 24 * hour, -hour), 12 * hour, 'it seems not to be valid yet')
  assert.equal(renewalDelay(0, 0, 10), 250)
})

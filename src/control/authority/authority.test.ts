import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Logger } from '../../telemetry/log.ts'
import { createGrpcClient } from '../../transport/grpc/client.ts'
import { createGrpcServer } from '../../transport/grpc/server.ts'
import { certificateRequest, readCertificateRequest } from '../../transport/identity/csr.ts'
import { openIdentity } from '../../transport/identity/open.ts'
import type { WorkloadIdentity } from '../../transport/identity/workload-identity.ts'
import { addRoot, initAuthority, loadAuthority, retireRoots, rotateIssuer } from './files.ts'
import { startAuthorityServer } from './server.ts'

function recorder() {
  const waiting: { pattern: RegExp; resolve: () => void }[] = []
  const write = (line: string) => {
    for (const { pattern, resolve } of waiting) if (pattern.test(line)) resolve()
  }
  const log: Logger = { debug: write, info: write, warn: write, error: write, fatal: write, scope: () => log, enabled: () => true }
  return { log, next: (pattern: RegExp) => new Promise<void>((resolve) => waiting.push({ pattern, resolve })) }
}

async function place(options: { tokenFile?: string } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'authority-'))
  initAuthority(join(folder, 'ca'))
  const { log, next } = recorder()
  const at = { folder: join(folder, 'ca'), host: '127.0.0.1', port: 0, trustDomain: 'localhost', namespace: 'default', log }
  const server = await startAuthorityServer({ ...at, ...options })
  return {
    folder,
    ca: at.folder,
    next,
    identity: async (appId: string, change: { tokenFile?: string } = {}) => {
      const asked = {
        sentryAddress: `127.0.0.1:${server.port}`,
        controlPlaneTrustDomain: 'localhost',
        controlPlaneNamespace: 'default',
        appId,
        namespace: 'default',
        trustAnchors: readFileSync(join(at.folder, 'ca.crt'), 'utf8'),
        log,
        ...change,
      }
      return (await openIdentity(asked, new AbortController().signal)) as WorkloadIdentity
    },
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]()
      rmSync(folder, { recursive: true })
    },
  }
}

async function talk(callee: WorkloadIdentity, caller: WorkloadIdentity): Promise<string> {
  const server = createGrpcServer({
    methods: new Map([['/s.T/who', { kind: 'unary', handle: (_, call) => Buffer.from(call.peer?.uri ?? '') }]]),
  })
  const port = await server.listen({ host: '127.0.0.1', port: 0, mutual: callee })
  const client = createGrpcClient({ tls: caller.dial })
  try {
    return String(await client.unary(`127.0.0.1:${port}${callee.id.path}`, '/s.T/who', Buffer.alloc(0)))
  } finally {
    await client[Symbol.asyncDispose]()
    await server.close(0)
  }
}

test('an authority of our own: files for the owner only, identities that trust each other, rotation in three steps', async () => {
  await using authority = await place()
  for (const name of readdirSync(authority.ca)) assert.equal(statSync(join(authority.ca, name)).mode & 0o777, 0o600, name)
  assert.throws(() => initAuthority(authority.ca), /there is an authority in/)
  using callee = await authority.identity('callee')
  using first = await authority.identity('caller')
  assert.equal(await talk(callee, first), 'spiffe://public/ns/default/caller')

  const changed = authority.next(/the authority changed/)
  rotateIssuer(authority.ca)
  await changed
  using second = await authority.identity('caller')
  assert.equal(await talk(callee, second), 'spiffe://public/ns/default/caller', 'another issuer, the same root')

  const added = authority.next(/the authority changed/)
  addRoot(authority.ca)
  await added
  assert.equal(loadAuthority(authority.ca).roots.length, 2)
  assert.throws(() => retireRoots(authority.ca), /run outrider identity rotate first/)
  using both = await authority.identity('both')
  const moved = authority.next(/the authority changed/)
  rotateIssuer(authority.ca)
  await moved
  using third = await authority.identity('caller')
  assert.equal(await talk(both, third), 'spiffe://public/ns/default/caller', 'who has both roots trusts the new one')
  assert.equal(await talk(both, first), 'spiffe://public/ns/default/caller', 'and the old one')
  assert.equal(retireRoots(authority.ca).roots.length, 1)
})

test('with a token only who brings it gets an identity, and nobody that of the authority', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'token-'))
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text)
    return join(folder, name)
  }
  await using authority = await place({ tokenFile: file('wanted', 'open sesame\n') })
  await assert.rejects(authority.identity('app'), /refused to sign: .*PermissionDenied.*not the one this authority asks for/)
  await assert.rejects(authority.identity('app', { tokenFile: file('wrong', 'open') }), /PermissionDenied/)
  using app = await authority.identity('app', { tokenFile: file('right', 'open sesame') })
  assert.equal(app.id.uri, 'spiffe://public/ns/default/app')
  await assert.rejects(authority.identity('dapr-sentry', { tokenFile: join(folder, 'right') }), /no identity is issued for dapr-sentry/)
  await assert.rejects(authority.identity('a/../b', { tokenFile: join(folder, 'right') }), /InvalidArgument/)
  rmSync(folder, { recursive: true })
})

test('a request is taken only with a signature of its own key, and nothing broken gets past the reader', () => {
  const good = certificateRequest(generateKeyPairSync('ed25519'))
  assert.equal(readCertificateRequest(good).asymmetricKeyType, 'ed25519')
  const rsa = certificateRequest(generateKeyPairSync('rsa', { modulusLength: 2048 }))
  assert.equal(readCertificateRequest(rsa).asymmetricKeyType, 'rsa')
  const short = certificateRequest(generateKeyPairSync('rsa', { modulusLength: 1024 }))
  assert.throws(() => readCertificateRequest(short), /shorter than 2048 bits/)
  const der = Buffer.from(good.replace(/-----[^-]+-----|\s/g, ''), 'base64')
  const rsaDer = Buffer.from(rsa.replace(/-----[^-]+-----|\s/g, ''), 'base64')
  const wrap = (bytes: Buffer) => `-----BEGIN CERTIFICATE REQUEST-----\n${bytes.toString('base64')}\n-----END CERTIFICATE REQUEST-----`
  assert.throws(() => readCertificateRequest('x'), /no PEM block/)
  for (let at = 0; at < rsaDer.length; at += 7) {
    const broken = Buffer.from(rsaDer)
    broken[at] = (broken[at] as number) ^ 0x41
    assert.throws(() => readCertificateRequest(wrap(broken)), Error, `byte ${at} of the RSA one`)
  }
  for (let at = 0; at < der.length; at++) {
    const broken = Buffer.from(der)
    broken[at] = (broken[at] as number) ^ 0x41
    assert.throws(() => readCertificateRequest(wrap(broken)), Error, `byte ${at}`)
    assert.throws(() => readCertificateRequest(wrap(der.subarray(0, at))), Error, `cut at ${at}`)
  }
})

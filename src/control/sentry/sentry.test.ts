import assert from 'node:assert/strict'
import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { ApiServer } from '../../../test/kubernetes/api-server.ts'
import { SENTRY_ID as ID, startCluster } from '../../../test/kubernetes/control-plane.ts'
import { startProgram } from '../../../test/kubernetes/program.ts'
import { verifyToken } from '../../components/crypto/jwt.ts'
import type { LoadedKey } from '../../components/crypto/key.ts'
import { parseKeySet } from '../../components/crypto/key-set.ts'
import { createGrpcClient } from '../../transport/grpc/client.ts'
import { issueCertificate } from '../../transport/identity/certificate.ts'
import { certificateRequest } from '../../transport/identity/csr.ts'
import {
  SIGN_CERTIFICATE,
  SignCertificateRequest,
  SignCertificateResponse,
  TokenValidator,
} from '../../transport/identity/sentry-messages.ts'
import { SENTRY_FLAGS } from './flags.ts'
import { runSentry } from './run.ts'

/** The authority as a program, until disposed. */
function start(argv: readonly string[]) {
  return startProgram(runSentry, SENTRY_FLAGS, ['--trust-domain=cluster.local', ...argv], { NAMESPACE: 'outrider-system' })
}

type Wish = Parameters<typeof SignCertificateRequest.encode>[0]

async function ask(port: number, wish: Wish, key = generateKeyPairSync('ed25519')) {
  const client = createGrpcClient({ tls: { rejectUnauthorized: false, checkServerIdentity: () => undefined } })
  try {
    const request = { certificateSigningRequest: Buffer.from(certificateRequest(key)), ...wish }
    const reply = await client.unary(`127.0.0.1:${port}`, SIGN_CERTIFICATE, SignCertificateRequest.encode(request), { timeout: 5000 })
    const { workloadCertificate, trustChainCertificates, jwt, perAudienceJwts } = SignCertificateResponse.decode(reply)
    const blocks = workloadCertificate.toString().match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----/g) ?? []
    const [leaf, issuer] = blocks.map((block) => new X509Certificate(block)) as [X509Certificate, X509Certificate]
    return { leaf, issuer, roots: String(trustChainCertificates[0]), jwt: jwt?.value, perAudienceJwts }
  } finally {
    await client[Symbol.asyncDispose]()
  }
}

/** A cluster with the pod of an app and its token. */
async function place(): Promise<{ api: ApiServer; token: string } & AsyncDisposable> {
  const api = await startCluster()
  const mtls = { workloadCertTTL: '2h', controlPlaneTrustDomain: 'cluster.local' }
  api.store.create('dapr.io/configurations', { metadata: { name: 'daprsystem', namespace: 'outrider-system' }, spec: { mtls } })
  api.store.create('dapr.io/configurations', {
    metadata: { name: 'shop', namespace: 'default' },
    spec: { accessControl: { trustDomain: 'shop.example' } },
  })
  const annotations = { 'dapr.io/app-id': 'orders', 'dapr.io/config': 'shop' }
  api.store.create('/pods', {
    metadata: { name: 'orders-1', namespace: 'default', annotations },
    spec: { serviceAccountName: 'orders' },
  })
  return { api, token: api.token('default', 'orders', [ID], 'orders-1'), [Symbol.asyncDispose]: () => api[Symbol.asyncDispose]() }
}

test('in a cluster it believes the tokens of pods, as whom their annotations name, and nobody else', async () => {
  await using cluster = await place()
  const { api, token } = cluster
  await using sentry = await start(['--mode=kubernetes', `--kubeconfig=${api.kubeconfig()}`])
  const wish = { id: 'orders', namespace: 'default', token, tokenValidator: TokenValidator.KUBERNETES }
  const { leaf, issuer, roots } = await ask(sentry.port, wish)
  assert.equal(leaf.subjectAltName, 'URI:spiffe://shop.example/ns/default/orders')
  const hours = (Date.parse(leaf.validTo) - Date.now()) / 3_600_000
  assert.ok(hours > 1.9 && hours < 2.1, `spec.mtls.workloadCertTTL: ${hours}`)
  assert.ok(leaf.verify(issuer.publicKey) && issuer.verify(new X509Certificate(roots).publicKey))
  assert.equal(api.store.get('/configmaps', 'outrider-system', 'dapr-trust-bundle')?.data['ca.crt'], roots)

  const other = api.token('default', 'somebody', [ID], 'orders-1')
  const foreign = api.token('default', 'orders', ['https://another'], 'orders-1')
  const gone = api.token('default', 'orders', [ID], 'orders-9')
  for (const [change, message] of [
    [{ id: 'payments' }, /app-id mismatch. expected: orders, received: payments/],
    [{ namespace: 'shop' }, /namespace mismatch/],
    [{ token: other }, /pod service account mismatch/],
    [{ token: foreign }, /invalid bearer token/],
    [{ token: gone }, /failed to get pod of identity/],
    [{ token: '' }, /token/],
    [{ tokenValidator: TokenValidator.INSECURE }, /the requested validator is not enabled/],
    [{ certificateSigningRequest: Buffer.alloc(0) }, /CSR is required/],
  ] as const)
    await assert.rejects(ask(sentry.port, { ...wish, ...change }), message, JSON.stringify(change))
})

test('programs of the control plane get its trust domain and the names that API servers call them by; not elsewhere', async () => {
  await using cluster = await place()
  const { api } = cluster
  const pod = (name: string, namespace: string, annotations: Record<string, string>) => {
    api.store.create('/pods', { metadata: { name, namespace, annotations }, spec: { serviceAccountName: 'dapr-injector' } })
    return api.token(namespace, 'dapr-injector', [ID], name)
  }
  const own = pod('injector', 'outrider-system', { 'dapr.io/control-plane': 'injector' })
  const false1 = pod('injector', 'default', { 'dapr.io/control-plane': 'injector' })
  const false2 = pod('odd', 'outrider-system', { 'dapr.io/control-plane': 'injector', 'dapr.io/app-id': 'x' })
  await using sentry = await start(['--mode=kubernetes', `--kubeconfig=${api.kubeconfig()}`])
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const { leaf } = await ask(sentry.port, { id: 'dapr-injector', namespace: 'outrider-system', token: own }, rsa)
  assert.equal(
    leaf.subjectAltName,
    'URI:spiffe://cluster.local/ns/outrider-system/dapr-injector, DNS:dapr-sidecar-injector.outrider-system.svc',
  )
  await assert.rejects(ask(sentry.port, { id: 'dapr-injector', namespace: 'default', token: false1 }), /is not allowed/)
  await assert.rejects(ask(sentry.port, { id: 'dapr-injector', namespace: 'outrider-system', token: false2 }), /cannot have annotation/)
})

test('several authorities that start at once sign with one issuer', async () => {
  await using cluster = await place()
  const { api, token } = cluster
  const flags = ['--mode=kubernetes', `--kubeconfig=${api.kubeconfig()}`]
  const all = await Promise.all([start(flags), start(flags), start(flags)])
  try {
    const leaves = await Promise.all(all.map(({ port }) => ask(port, { id: 'orders', namespace: 'default', token })))
    assert.equal(new Set(leaves.map(({ issuer }) => issuer.fingerprint256)).size, 1)
  } finally {
    for (const each of all) await each[Symbol.asyncDispose]()
  }
})

test('an issuer with an ECDSA key, as older installations of Dapr have it, signs; its rotation is taken up', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sentry-'))
  try {
    const write = () => {
      const span = { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 86_400_000) }
      const root = generateKeyPairSync('ec', { namedCurve: 'P-256' })
      const middle = generateKeyPairSync('ec', { namedCurve: 'P-256' })
      const by = { name: 'root', ...root }
      const roots = issueCertificate({ ...span, publicKey: root.publicKey, subject: 'root', issuer: by, authority: true })
      writeFileSync(join(folder, 'ca.crt'), roots)
      writeFileSync(join(folder, 'issuer.key'), middle.privateKey.export({ type: 'sec1', format: 'pem' }))
      const issuer = issueCertificate({ ...span, publicKey: middle.publicKey, subject: 'issuer', issuer: by, authority: true })
      writeFileSync(join(folder, 'issuer.crt'), issuer)
      return new X509Certificate(issuer).fingerprint256
    }
    const first = write()
    await using sentry = await start([`--issuer-credentials=${folder}`])
    const key = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const before = await ask(sentry.port, { id: 'orders', namespace: 'default' }, key)
    assert.equal(before.issuer.fingerprint256, first)
    assert.ok(before.leaf.verify(before.issuer.publicKey))
    const second = write()
    // The folder is watched; what is asked meanwhile is signed by the old one.
    for (;;) {
      const { issuer } = await ask(sentry.port, { id: 'orders', namespace: 'default' }, key)
      if (issuer.fingerprint256 === second) break
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('tokens beside certificates: one for all audiences and one for each, checked by the keys that OpenID serves', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sentry-'))
  try {
    const issuer = 'https://issuer.example/auth'
    await using sentry = await start([`--issuer-credentials=${folder}`, '--jwt-enabled', `--jwt-issuer=${issuer}`, '--jwt-ttl=1h'])
    const { jwt = '', perAudienceJwts } = await ask(sentry.port, { id: 'orders', namespace: 'shop', jwtAudiences: ['bank'] })
    const keys = parseKeySet(readFileSync(join(folder, 'jwks.json')))
    const findKey = async (kid: string) => keys.get(kid) as LoadedKey
    const subject = 'spiffe://public/ns/shop/orders'
    const rules = { issuer, subject, skew: 0, findKey, now: Date.now }
    for (const audience of ['public', 'bank']) {
      await verifyToken(jwt, { ...rules, audience })
      await verifyToken(perAudienceJwts[audience]?.value ?? '', { ...rules, audience })
    }
    await assert.rejects(verifyToken(perAudienceJwts.public?.value ?? '', { ...rules, audience: 'bank' }), /"aud"/)
    await assert.rejects(verifyToken(jwt, { ...rules, audience: 'bank', now: () => Date.now() + 3_700_000 }), /"exp"/)
    writeFileSync(join(folder, 'jwks.json'), '{"keys":[]}')
    await assert.rejects(start([`--issuer-credentials=${folder}`, '--jwt-enabled']), /there are no published keys/)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

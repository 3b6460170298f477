import assert from 'node:assert/strict'
import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { NAMESPACE, SENTRY_ID, startCluster, TRUST_DOMAIN } from '../../../test/kubernetes/control-plane.ts'
import { startProgram } from '../../../test/kubernetes/program.ts'
import { Cluster } from '../../components/kubernetes/cluster.ts'
import { OPERATOR_KINDS } from '../../resources/operator/messages.ts'
import type { Logger } from '../../telemetry/log.ts'
import { createGrpcClient } from '../../transport/grpc/client.ts'
import { frame } from '../../transport/grpc/frames.ts'
import { issueCertificate } from '../../transport/identity/certificate.ts'
import { requestIdentity } from '../../transport/identity/sentry.ts'
import { TokenValidator } from '../../transport/identity/sentry-messages.ts'
import { openTrustAnchorsFile } from '../../transport/identity/trust-anchors.ts'
import { WorkloadIdentity } from '../../transport/identity/workload-identity.ts'
import { parseControlFlags } from '../flags.ts'
import { OPERATOR_FLAGS } from '../operator/flags.ts'
import { runOperator } from '../operator/run.ts'
import { SENTRY_FLAGS } from './flags.ts'
import { sentryMetrics } from './metrics.ts'
import { openSentry } from './open.ts'

const quiet: Logger = { debug() {}, info() {}, warn() {}, error() {}, fatal() {}, scope: () => quiet, enabled: () => false }

/** A trust bundle whose certificates all end then. */
function bundle(end: Date) {
  const span = { notBefore: new Date(Date.now() - 60_000), notAfter: end }
  const [root, issuer] = [generateKeyPairSync('ed25519'), generateKeyPairSync('ed25519')]
  const by = { name: 'root', ...root }
  return {
    'ca.crt': issueCertificate({ ...span, publicKey: root.publicKey, subject: 'root', issuer: by, authority: true }),
    'issuer.crt': issueCertificate({ ...span, publicKey: issuer.publicKey, subject: 'issuer', issuer: by, authority: true }),
    'issuer.key': issuer.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
  }
}

const base64 = (texts: Record<string, string>) =>
  Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, Buffer.from(text).toString('base64')]))

test('a trust bundle that ends: what is connected goes on, nobody asks in a rush, and another one is taken up by all', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'outrider-expiry-'))
  const api = await startCluster()
  const open = new AsyncDisposableStack()
  open.defer(() => rmSync(folder, { recursive: true, force: true }))
  open.use(api)
  try {
    api.store.create('dapr.io/configurations', { metadata: { name: 'daprsystem', namespace: NAMESPACE }, spec: { mtls: {} } })
    const first = bundle(new Date(Date.now() + 86_400_000))
    const secret = { metadata: { name: 'dapr-trust-bundle', namespace: NAMESPACE } }
    api.store.create('/secrets', { ...secret, data: base64(first) })
    const anchors = join(folder, 'ca.crt')
    writeFileSync(anchors, first['ca.crt'])
    const token = (pod: string, namespace: string, annotations: Record<string, string>) => {
      api.store.create('/pods', { metadata: { name: pod, namespace, annotations }, spec: { serviceAccountName: 'default' } })
      const path = join(folder, pod)
      writeFileSync(path, api.token(namespace, 'default', [SENTRY_ID], pod))
      return path
    }
    const kubeconfig = `--kubeconfig=${api.kubeconfig()}`
    const cluster = open.use(await Cluster.open(api.kubeconfig(), {}))
    const metrics = sentryMetrics()
    const flags = parseControlFlags(SENTRY_FLAGS, [
      kubeconfig,
      '--mode=kubernetes',
      `--trust-domain=${TRUST_DOMAIN}`,
      '--port=0',
      '--listen-address=127.0.0.1',
    ])
    const signal = new AbortController().signal
    const sentry = open.use(await openSentry({ flags, env: { NAMESPACE }, cluster, metrics, lookEvery: 20, log: quiet }, signal))
    const address = `127.0.0.1:${sentry.port}`
    api.store.update('dapr.io/configurations', {
      metadata: { name: 'daprsystem', namespace: NAMESPACE },
      spec: { mtls: { controlPlaneTrustDomain: TRUST_DOMAIN, sentryAddress: address } },
    })
    const operator = open.use(
      await startProgram(
        runOperator,
        OPERATOR_FLAGS,
        [kubeconfig, `--trust-anchors-file=${anchors}`, '--disable-leader-election', '--disable-service-reconciler'],
        {
          NAMESPACE,
          ENABLE_WEBHOOKS: 'false',
          DAPR_SENTRY_TOKEN_FILE: token('operator', NAMESPACE, { 'dapr.io/control-plane': 'operator' }),
        },
      ),
    )

    // A sidecar, with its streams.
    const tokenFile = token('orders', 'default', { 'dapr.io/app-id': 'orders' })
    const asked = {
      address,
      authorityId: SENTRY_ID,
      appId: 'orders',
      namespace: 'default',
      tokenFile,
      tokenValidator: TokenValidator.KUBERNETES,
    }
    const request = (pem: string) => requestIdentity(asked, pem)
    const followed = await openTrustAnchorsFile(anchors, quiet)
    const identity = open.use(
      new WorkloadIdentity({ anchors: followed, request, log: quiet, retryDelay: 250 }, await request(followed.pem)),
    )
    const place = `127.0.0.1:${operator.port}/ns/${NAMESPACE}/dapr-operator`
    const { list, updates } = OPERATOR_KINDS.Component
    const names = async (client: ReturnType<typeof createGrpcClient>) => {
      const reply = await client.unary(place, list?.path ?? '', list?.request.encode({ namespace: 'default' }) ?? Buffer.alloc(0), {
        timeout: 5000,
      })
      return list?.reply.decode(reply).items.map((item) => (JSON.parse(String(item)) as { metadata: { name: string } }).metadata.name)
    }
    const standing = open.use(createGrpcClient({ tls: identity.dial, idleTimeout: 0 }))
    const told: string[] = []
    let hear = Promise.withResolvers<void>()
    const stream = standing.stream(
      place,
      updates.path,
      {},
      {
        onMessage(message) {
          told.push((JSON.parse(String(updates.event.decode(message).resource)) as { metadata: { name: string } }).metadata.name)
          hear.resolve()
        },
        onClose: (status) => hear.reject(status ?? new Error('the stream ended')),
      },
    )
    stream.end(frame(updates.request.encode({ namespace: 'default' })))
    await names(standing)
    const apply = (name: string) =>
      api.apply({
        apiVersion: 'dapr.io/v1alpha1',
        kind: 'Component',
        metadata: { name, namespace: 'default' },
        spec: { type: 'state.in-memory', version: 'v1' },
      })

    /** Another bundle: the authority takes it up by itself, the others when their mounts show it. False: they have not until then. */
    const rotate = async (texts: ReturnType<typeof bundle>, until: number): Promise<boolean> => {
      const late = delay(Math.max(0, until - Date.now())).then(() => false)
      const led = (lines: number) => operator.lines.slice(lines).some((line) => /identity .*dapr-operator is valid until/.test(line))
      const settled = async () => {
        api.store.update('/secrets', { ...secret, data: base64(texts) })
        while (api.store.get('/configmaps', NAMESPACE, 'dapr-trust-bundle')?.data['ca.crt'] !== texts['ca.crt']) await delay(10)
        const lines = operator.lines.length
        writeFileSync(anchors, texts['ca.crt'])
        while (!led(lines) || !String(identity.options.cert).includes(texts['issuer.crt'].trim())) {
          if (Date.now() > until) return false
          await delay(10)
        }
        return true
      }
      return Promise.race([settled(), late])
    }
    // On a machine that is busy it takes longer until all have it.
    let end = Date.now()
    for (let life = 2500, all = false; !all; life *= 2) {
      end = Date.now() + life
      all = await rotate(bundle(new Date(end)), end - 500)
    }

    // Everything ends, those who renewed it in time with it.
    await delay(end - Date.now() + 1100)
    const signed = () => Number(/sign_success_total(?:\{\})? (\d+)/.exec(metrics.text())?.[1])
    const [before, began] = [signed(), performance.now()]
    await apply('late')
    await hear.promise
    assert.deepEqual(told, ['late'])
    assert.deepEqual(await names(standing), ['late'])
    await using stranger = createGrpcClient({ tls: identity.dial, connectTimeout: 2000 })
    await assert.rejects(names(stranger), /certificate|expired|closed|reset/i)
    await delay(700)
    assert.equal(signed(), before, 'an issuer that has ended signs nothing')
    assert.ok(operator.lines.filter((line) => /could not be renewed/.test(line)).length <= 1 + (performance.now() - began) / 10_000)

    hear = Promise.withResolvers()
    assert.ok(await rotate(bundle(new Date(Date.now() + 86_400_000)), Date.now() + 20_000))
    assert.ok(Date.parse(new X509Certificate(identity.options.cert as string).validTo) > Date.now() + 3_600_000)
    await using fresh = createGrpcClient({ tls: identity.dial })
    assert.deepEqual(await names(fresh), ['late'])
    await apply('later')
    await hear.promise
    assert.deepEqual(told, ['late', 'later'], 'the stream of the first hour still stands')
    stream.cancel()
  } finally {
    await open.disposeAsync()
  }
})

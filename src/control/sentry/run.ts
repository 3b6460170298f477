import { readFile } from 'node:fs/promises'
import { Cluster } from '../../components/kubernetes/cluster.ts'
import { messageOf } from '../../errors.ts'
import { createGrpcServer } from '../../transport/grpc/server.ts'
import { SIGN_CERTIFICATE, TokenValidator } from '../../transport/identity/sentry-messages.ts'
import { OwnCertificate } from '../authority/own-certificate.ts'
import { LARGEST_REQUEST } from '../authority/server.ts'
import { clusterDomainOf } from '../cluster-domain.ts'
import type { FlagValues } from '../flags.ts'
import { onceMore } from '../once-more.ts'
import { patiently } from '../patiently.ts'
import type { ProgramContext } from '../program.ts'
import { openSideServer } from '../side-server.ts'
import { type BundleNames, loadBundle } from './bundle.ts'
import type { SENTRY_FLAGS } from './flags.ts'
import { folderStore } from './folder-store.ts'
import { jwksValidator } from './jwks-validator.ts'
import { kubernetesValidator } from './kubernetes-validator.ts'
import { sentryMetrics } from './metrics.ts'
import { openOidcServer } from './oidc-server.ts'
import { secretStore } from './secret-store.ts'
import { settingsFromCluster, settingsFromFile } from './settings.ts'
import { signCertificate } from './signing.ts'
import { insecureValidator, type Validator } from './validator.ts'

const DAY = 86_400_000
/** An issuer that ends sooner is warned of. */
const SOON = 30 * DAY

type Flags = FlagValues<typeof SENTRY_FLAGS>

/** The authority from its start until the signal. Rejects when it cannot start. */
export async function runSentry({ flags, env, log, signal }: ProgramContext<typeof SENTRY_FLAGS>): Promise<void> {
  if (flags.mode !== 'standalone' && flags.mode !== 'kubernetes')
    throw new Error(`--mode is "${flags.mode}"; expected standalone or kubernetes`)
  await using open = new AsyncDisposableStack()
  const namespace = env.NAMESPACE || 'default'
  const trustDomain = flags['trust-domain']
  const id = `spiffe://${trustDomain}/ns/${namespace}/dapr-sentry`
  const metrics = sentryMetrics()
  const missing = new Set(['authority'])
  open.use(
    await openSideServer({
      healthz: { host: flags['healthz-listen-address'], port: flags['healthz-port'] },
      metrics: flags['enable-metrics']
        ? { host: flags['metrics-listen-address'], port: flags['metrics-port'], text: metrics.text }
        : undefined,
      missing: () => [...missing],
      log,
    }),
  )
  const cluster = flags.mode === 'kubernetes' ? open.use(await Cluster.open(flags.kubeconfig, env)) : undefined
  const settings = cluster
    ? await patiently(() => settingsFromCluster(cluster, namespace, flags.config), log, signal)
    : await settingsFromFile(flags.config)

  const names = namesOf(flags)
  const store = open.use(
    cluster ? secretStore(cluster, namespace, names) : folderStore(flags['issuer-credentials'], Object.values(names), log),
  )
  const tokens = flags['jwt-enabled'] ? { algorithm: flags['jwt-signing-algorithm'], keyId: flags['jwt-key-id'] } : undefined
  const wanted = { names, id, trustDomain, tokens }
  const first = await patiently(() => loadBundle(store, wanted), log, signal)
  let { bundle } = first
  if (first.made) metrics.changed()
  const tellExpiry = () => {
    const end = new Date(bundle.authority.issuer.certificate.validTo)
    metrics.expires(end)
    if (end.getTime() - Date.now() < SOON)
      log.warn(`the issuer's certificate ends at ${end.toISOString()}; put new ones into the trust bundle before`)
  }
  tellExpiry()
  open.use(every(DAY / 24, tellExpiry))

  const validators = new Map<number, Validator>()
  if (cluster) validators.set(TokenValidator.KUBERNETES, kubernetesValidator({ cluster, sentryId: id, namespace, trustDomain, log }))
  if (settings.jwks) validators.set(TokenValidator.JWKS, open.use(await jwksValidator(settings.jwks, id, log, signal)))
  if (validators.size === 0) validators.set(TokenValidator.INSECURE, insecureValidator())
  const own = open.use(new OwnCertificate(() => bundle.authority, id))
  const sign = signCertificate({
    bundle: () => bundle,
    validators,
    fallback: cluster ? TokenValidator.KUBERNETES : settings.jwks ? undefined : TokenValidator.INSECURE,
    namespace,
    // Schedulers expect their names in it, outside of clusters too.
    clusterDomain: cluster ? clusterDomainOf(await readFile('/etc/resolv.conf', 'utf8').catch(() => ''), trustDomain) : trustDomain,
    ...settings,
    tokens: { issuer: flags['jwt-issuer'], life: flags['jwt-ttl'] },
    metrics,
    log,
  })
  const server = createGrpcServer({ methods: new Map([[SIGN_CERTIFICATE, sign]]), maxMessageSize: LARGEST_REQUEST })
  const port = await server.listen({ host: flags['listen-address'] || undefined, port: flags.port, mutual: own })
  open.defer(() => server.close(1000))
  if (flags['oidc-enabled'] && tokens) open.use(await openOidc(flags, () => bundle.tokens))

  const read = onceMore(async () => {
    try {
      const fresh = (await loadBundle(store, wanted)).bundle
      const { authority } = fresh
      const same = authority.rootsPem === bundle.authority.rootsPem && authority.issuer.pem === bundle.authority.issuer.pem
      bundle = fresh
      if (same) return
      metrics.changed()
      tellExpiry()
      own.renew()
      log.info('the trust bundle changed; what is issued from now on is signed by its new issuer')
    } catch (error) {
      // Between the files of a rotation they do not fit; another event follows.
      log.warn(`the trust bundle is not up to date: ${messageOf(error)}`)
    }
  })
  open.use(store.follow(read))
  missing.delete('authority')
  log.info(`the authority ${id} listens on port ${port}`)
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}

function namesOf(flags: Flags): BundleNames {
  return {
    roots: flags['issuer-ca-filename'],
    issuer: flags['issuer-certificate-filename'],
    issuerKey: flags['issuer-key-filename'],
    tokenKey: flags['jwt-key-filename'],
    keySet: flags['jwks-filename'],
  }
}

function openOidc(flags: Flags, tokens: () => { keySet: string; algorithm: string } | undefined) {
  const certificate = flags['oidc-server-tls-cert-file']
  const key = flags['oidc-server-tls-key-file']
  const encrypted = flags['oidc-server-tls-enabled']
  if (encrypted && (certificate === '' || key === ''))
    throw new Error(
      'OpenID with TLS needs --oidc-server-tls-cert-file and --oidc-server-tls-key-file; or give --oidc-server-tls-enabled=false',
    )
  return openOidcServer({
    host: flags['oidc-server-listen-address'],
    port: flags['oidc-server-listen-port'],
    tls: encrypted ? { certificate, key } : undefined,
    keys: () => tokens() ?? { keySet: '{"keys":[]}', algorithm: 'RS256' },
    issuer: flags['jwt-issuer'],
    keySetUri: flags['oidc-jwks-uri'],
    prefix: flags['oidc-path-prefix'],
    hosts: flags['oidc-allowed-hosts']
      .split(',')
      .map((host) => host.trim())
      .filter((host) => host !== ''),
  })
}

function every(interval: number, run: () => void): Disposable {
  const timer = setInterval(run, interval).unref()
  return { [Symbol.dispose]: () => clearInterval(timer) }
}

import { readFile } from 'node:fs/promises'
import type { Cluster } from '../../components/kubernetes/cluster.ts'
import { messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import { createGrpcServer } from '../../transport/grpc/server.ts'
import { SIGN_CERTIFICATE, TokenValidator } from '../../transport/identity/sentry-messages.ts'
import { OwnCertificate } from '../authority/own-certificate.ts'
import { LARGEST_REQUEST } from '../authority/server.ts'
import { clusterDomainOf } from '../cluster-domain.ts'
import type { FlagValues } from '../flags.ts'
import { onceMore } from '../once-more.ts'
import { patiently } from '../patiently.ts'
import { type Bundle, type BundleNames, loadBundle } from './bundle.ts'
import type { SENTRY_FLAGS } from './flags.ts'
import { folderStore } from './folder-store.ts'
import { kubernetesValidator } from './kubernetes-validator.ts'
import type { SentryMetrics } from './metrics.ts'
import { secretStore } from './secret-store.ts'
import { settingsFromCluster } from './settings.ts'
import { signCertificate } from './signing.ts'
import { insecureValidator, type Validator } from './validator.ts'

const DAY = 86_400_000
/** An issuer that ends sooner is warned of. */
const SOON = 30 * DAY

type Flags = FlagValues<typeof SENTRY_FLAGS>

export interface SentryOptions {
  flags: Flags
  env: NodeJS.ProcessEnv
  /** Undefined: standalone, its keys lie in a folder. */
  cluster: Cluster | undefined
  metrics: SentryMetrics
  /** Milliseconds between two looks at the Secret. Default a minute. */
  lookEvery?: number
  log: Logger
}

/** An authority that serves. */
export interface Sentry extends AsyncDisposable {
  readonly port: number
  readonly namespace: string
  readonly trustDomain: string
  readonly clusterDomain: string
  readonly settings: { readonly leafLife: number; readonly skew: number }
  /** What it signs with now. */
  readonly bundle: Bundle
  /** Hears of each other bundle, until disposed. */
  follow(changed: () => void): Disposable
}

/** Opens the authority: reads its bundle, or makes one, and listens. Rejects when it cannot, or with the signal's reason. */
export async function openSentry({ flags, env, cluster, metrics, lookEvery, log }: SentryOptions, signal: AbortSignal): Promise<Sentry> {
  await using opening = new AsyncDisposableStack()
  const namespace = env.NAMESPACE || 'default'
  const trustDomain = flags['trust-domain']
  const id = `spiffe://${trustDomain}/ns/${namespace}/dapr-sentry`
  const settings = cluster
    ? await patiently(() => settingsFromCluster(cluster, namespace, flags.config), log, signal)
    : await (await import('./settings-file.ts')).settingsFromFile(flags.config)

  const names = namesOf(flags)
  const store = opening.use(
    cluster ? secretStore(cluster, namespace, names, lookEvery) : folderStore(flags['issuer-credentials'], Object.values(names), log),
  )
  const tokens = flags['jwt-enabled'] ? { algorithm: flags['jwt-signing-algorithm'], keyId: flags['jwt-key-id'] } : undefined
  const wanted = { names, id, trustDomain, tokens }
  const first = await patiently(() => loadBundle(store, wanted), log, signal)
  let { bundle } = first
  if (first.made) metrics.changed()
  const tellExpiry = () => {
    const end = new Date(bundle.authority.issuer.certificate.validTo)
    metrics.expires(end)
    const left = end.getTime() - Date.now()
    if (left < 0) log.error(`the issuer's certificate ended at ${end.toISOString()}: nothing is signed until the trust bundle has another`)
    else if (left < SOON) log.warn(`the issuer's certificate ends at ${end.toISOString()}; put new ones into the trust bundle before`)
  }
  tellExpiry()
  opening.use(every(DAY / 24, tellExpiry))

  const validators = new Map<number, Validator>()
  if (cluster) validators.set(TokenValidator.KUBERNETES, kubernetesValidator({ cluster, sentryId: id, namespace, trustDomain, log }))
  if (settings.jwks) validators.set(TokenValidator.JWKS, opening.use(await openJwks(settings.jwks, id, log, signal)))
  if (validators.size === 0) validators.set(TokenValidator.INSECURE, insecureValidator())
  const own = opening.use(new OwnCertificate(() => bundle.authority, id))
  // Schedulers expect their names in it, outside of clusters too.
  const clusterDomain = cluster ? clusterDomainOf(await readFile('/etc/resolv.conf', 'utf8').catch(() => ''), trustDomain) : trustDomain
  const sign = signCertificate({
    bundle: () => bundle,
    validators,
    fallback: cluster ? TokenValidator.KUBERNETES : settings.jwks ? undefined : TokenValidator.INSECURE,
    namespace,
    clusterDomain,
    ...settings,
    tokens: { issuer: flags['jwt-issuer'], life: flags['jwt-ttl'] },
    metrics,
    log,
  })
  const server = createGrpcServer({ methods: new Map([[SIGN_CERTIFICATE, sign]]), maxMessageSize: LARGEST_REQUEST })
  const port = await server.listen({ host: flags['listen-address'] || undefined, port: flags.port, mutual: own })
  opening.defer(() => server.close(1000))
  if (flags['oidc-enabled'] && tokens) opening.use(await openOidc(flags, () => bundle.tokens))

  const followers = new Set<() => void>()
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
      for (const changed of followers) changed()
      log.info('the trust bundle changed; what is issued from now on is signed by its new issuer')
    } catch (error) {
      // Between the files of a rotation they do not fit; another event follows.
      log.warn(`the trust bundle is not up to date: ${messageOf(error)}`)
    }
  })
  opening.use(store.follow(read))
  log.info(`the authority ${id} listens on port ${port}`)
  const open = opening.move()
  return {
    port,
    namespace,
    trustDomain,
    clusterDomain,
    settings,
    get bundle() {
      return bundle
    },
    follow(changed) {
      followers.add(changed)
      return { [Symbol.dispose]: () => void followers.delete(changed) }
    },
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  }
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

/** Few installations want it: its code loads when one does. */
async function openOidc(flags: Flags, tokens: () => { keySet: string; algorithm: string } | undefined) {
  const { openOidcServer } = await import('./oidc-server.ts')
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

async function openJwks(...args: Parameters<typeof import('./jwks-validator.ts')['jwksValidator']>): Promise<Validator> {
  return (await import('./jwks-validator.ts')).jwksValidator(...args)
}

function every(interval: number, run: () => void): Disposable {
  const timer = setInterval(run, interval).unref()
  return { [Symbol.dispose]: () => clearInterval(timer) }
}

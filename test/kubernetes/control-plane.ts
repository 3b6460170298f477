import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SENTRY_FLAGS } from '../../src/control/sentry/flags.ts'
import { runSentry } from '../../src/control/sentry/run.ts'
import { createLogger } from '../../src/telemetry/log.ts'
import { openIdentity } from '../../src/transport/identity/open.ts'
import { TokenValidator } from '../../src/transport/identity/sentry-messages.ts'
import type { WorkloadIdentity } from '../../src/transport/identity/workload-identity.ts'
import { type ApiServer, type ApiServerOptions, startApiServer } from './api-server.ts'
import { type RunningProgram, startProgram } from './program.ts'

export const NAMESPACE = 'outrider-system'
export const TRUST_DOMAIN = 'cluster.local'
export const SENTRY_ID = `spiffe://${TRUST_DOMAIN}/ns/${NAMESPACE}/dapr-sentry`

/** The collections of dapr.io, as their definitions name them. */
const DAPR = {
  components: 'Component',
  configurations: 'Configuration',
  subscriptions: 'Subscription',
  resiliencies: 'Resiliency',
  httpendpoints: 'HTTPEndpoint',
  mcpservers: 'MCPServer',
  workflowaccesspolicies: 'WorkflowAccessPolicy',
}

/** An API server that knows Dapr's kinds, with the Configuration of the control plane. */
export async function startCluster(options?: ApiServerOptions): Promise<ApiServer> {
  const api = await startApiServer(options)
  api.store.create('/namespaces', { metadata: { name: NAMESPACE, labels: { 'kubernetes.io/metadata.name': NAMESPACE } } })
  for (const [plural, kind] of Object.entries(DAPR))
    api.store.create('apiextensions.k8s.io/customresourcedefinitions', {
      metadata: { name: `${plural}.dapr.io` },
      spec: { group: 'dapr.io', names: { plural, kind }, scope: 'Namespaced' },
    })
  return api
}

export interface Authority extends AsyncDisposable {
  readonly sentry: RunningProgram
  readonly address: string
  /** A folder for what programs read. */
  readonly folder: string
  /** The file of its roots, as the control plane's pods have it. */
  readonly anchorsFile: string
  readonly anchors: string
  /** A file with a token of a new pod. */
  tokenFile(namespace: string, pod: string, annotations: Record<string, string>): string
  /** The identity of an app with a pod of its own. */
  identity(namespace: string, appId: string, annotations?: Record<string, string>): Promise<WorkloadIdentity>
}

/** Our authority in that cluster. The Configuration `daprsystem` names it. */
export async function startClusterAuthority(api: ApiServer): Promise<Authority> {
  const folder = mkdtempSync(join(tmpdir(), 'outrider-control-'))
  const mtls: Record<string, string> = { workloadCertTTL: '2h', controlPlaneTrustDomain: TRUST_DOMAIN }
  api.store.create('dapr.io/configurations', { metadata: { name: 'daprsystem', namespace: NAMESPACE }, spec: { mtls } })
  const argv = ['--mode=kubernetes', `--kubeconfig=${api.kubeconfig()}`, `--trust-domain=${TRUST_DOMAIN}`]
  const sentry = await startProgram(runSentry, SENTRY_FLAGS, argv, { NAMESPACE })
  const address = `127.0.0.1:${sentry.port}`
  const sentryAddress = { ...mtls, sentryAddress: address }
  api.store.update('dapr.io/configurations', { metadata: { name: 'daprsystem', namespace: NAMESPACE }, spec: { mtls: sentryAddress } })
  const anchors = String(api.store.get('/configmaps', NAMESPACE, 'dapr-trust-bundle')?.data['ca.crt'])
  const anchorsFile = join(folder, 'ca.crt')
  writeFileSync(anchorsFile, anchors)
  const log = createLogger({ level: 'error', json: false, appId: 'test', version: 'test' })
  const authority: Authority = {
    sentry,
    address,
    folder,
    anchorsFile,
    anchors,
    tokenFile(namespace, pod, annotations) {
      if (!api.store.get('/pods', namespace, pod))
        api.store.create('/pods', { metadata: { name: pod, namespace, annotations }, spec: { serviceAccountName: 'default' } })
      const path = join(folder, `token-${namespace}-${pod}`)
      writeFileSync(path, api.token(namespace, 'default', [SENTRY_ID], pod))
      return path
    },
    async identity(namespace, appId, annotations = {}) {
      const all = { 'dapr.io/enabled': 'true', 'dapr.io/app-id': appId, ...annotations }
      const identity = await openIdentity(
        {
          sentryAddress: address,
          controlPlaneTrustDomain: TRUST_DOMAIN,
          controlPlaneNamespace: NAMESPACE,
          appId,
          namespace,
          trustAnchors: anchors,
          tokenFile: authority.tokenFile(namespace, `${appId}-pod`, all),
          tokenValidator: TokenValidator.KUBERNETES,
          log,
        },
        new AbortController().signal,
      )
      return identity as WorkloadIdentity
    },
    async [Symbol.asyncDispose]() {
      await sentry[Symbol.asyncDispose]()
      rmSync(folder, { recursive: true, force: true })
    },
  }
  return authority
}

/** What a program of the control plane finds in its pod. */
export function programEnvironment(authority: Authority, program: string): NodeJS.ProcessEnv {
  return { NAMESPACE, DAPR_SENTRY_TOKEN_FILE: authority.tokenFile(NAMESPACE, `dapr-${program}`, { 'dapr.io/control-plane': program }) }
}

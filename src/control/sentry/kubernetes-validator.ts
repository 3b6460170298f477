import type { Cluster } from '../../components/kubernetes/cluster.ts'
import { messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import { checkRequest, denied, type Validator } from './validator.ts'

/** Audience of tokens before sidecars named the authority itself; pods that were injected long ago still have it. */
const LEGACY_AUDIENCE = 'dapr.io/sentry'
const PROGRAMS = new Set(['operator', 'placement', 'injector', 'sentry', 'scheduler'])
const CONTROL_PLANE = 'dapr.io/control-plane'
const APP_ID = ['outrider.dev/app-id', 'dapr.io/app-id']
const CONFIG = ['outrider.dev/config', 'dapr.io/config']

export interface KubernetesValidatorOptions {
  cluster: Cluster
  sentryId: string
  /** Of the control plane. */
  namespace: string
  trustDomain: string
  log: Logger
}

interface Pod {
  metadata: { name: string; namespace: string; annotations?: Record<string, string> }
  spec: { serviceAccountName?: string }
}

/** Believes who brings the token of a pod's service account that Kubernetes vouches for, as whom the pod's annotations name. */
export function kubernetesValidator({ cluster, sentryId, namespace, trustDomain, log }: KubernetesValidatorOptions): Validator {
  const find = async <T extends { metadata: { name: string; namespace: string } }>(
    root: string,
    plural: string,
    of: string,
    name: string,
    signal: AbortSignal,
  ): Promise<T | undefined> => {
    const found = await cluster.get(`${root}/namespaces/${encodeURIComponent(of)}/${plural}/${encodeURIComponent(name)}`, signal)
    if (found) return found as T
    // A pod so new that its own path does not know it yet is in the list, which the API server answers from its memory.
    const query = new URLSearchParams({ fieldSelector: `metadata.name=${name},metadata.namespace=${of}`, resourceVersion: '0' })
    const list = (await cluster.get(`${root}/${plural}?${query}`, signal)) as { items?: T[] } | undefined
    return list?.items?.find(({ metadata }) => metadata.name === name && metadata.namespace === of)
  }

  return {
    async validate(request, signal) {
      checkRequest(request)
      const account = await review(cluster, request.token, [LEGACY_AUDIENCE, sentryId], signal)
      const podName = podOf(request.token)
      const pod = await find<Pod>('/api/v1', 'pods', account.namespace, podName, signal)
      if (!pod) {
        log.error(`the pod ${account.namespace}/${podName} of a token is not there`)
        throw denied('failed to get pod of identity')
      }
      if (account.namespace !== request.namespace) throw denied(`namespace mismatch; received namespace: ${request.namespace}`)
      if (pod.spec.serviceAccountName !== account.name) throw denied('pod service account mismatch')
      const { ids, controlPlane } = expected(pod, namespace)
      if (!ids.includes(request.id)) throw denied(`app-id mismatch. expected: ${ids.join(' or ')}, received: ${request.id}`)
      if (controlPlane) return { trustDomain, beside: ids.filter((id) => id !== request.id) }
      const config = annotation(pod, CONFIG)
      if (config === undefined) return { trustDomain: 'public' }
      type Configuration = Pod & { spec?: { accessControl?: { trustDomain?: string } } }
      const found = await find<Configuration>('/apis/dapr.io/v1alpha1', 'configurations', request.namespace, config, signal)
      if (!found) throw denied(`failed to get configuration: there is no Configuration ${config} in the namespace ${request.namespace}`)
      return { trustDomain: found.spec?.accessControl?.trustDomain || 'public' }
    },
    async [Symbol.asyncDispose]() {},
  }
}

/** Asks Kubernetes whose token it is. */
async function review(
  cluster: Cluster,
  token: string,
  audiences: readonly string[],
  signal: AbortSignal,
): Promise<{ namespace: string; name: string }> {
  const wanted = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec: { token, audiences } }
  type Review = { status?: { authenticated?: boolean; error?: string; user?: { username?: string } } }
  let answer: Review
  try {
    answer = (await cluster.create('/apis/authentication.k8s.io/v1/tokenreviews', wanted, signal)) as Review
  } catch (error) {
    throw denied(`token review failed: ${messageOf(error)}`)
  }
  if (answer.status?.error) throw denied(`invalid token: ${answer.status.error}`)
  if (!answer.status?.authenticated) throw denied('authentication failed')
  const [, namespace, name] = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(answer.status.user?.username ?? '') ?? []
  if (namespace === undefined || name === undefined) throw denied('provided token is not a properly structured service account token')
  return { namespace, name }
}

/** The pod that a token was made for. Kubernetes has vouched for it, so its signature is not looked at again. */
function podOf(token: string): string {
  // Some stand-ins hand out the claims alone.
  const body = token.startsWith('{') ? token : Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()
  let name: unknown
  try {
    name = (JSON.parse(body) as { 'kubernetes.io'?: { pod?: { name?: unknown } } })['kubernetes.io']?.pod?.name
  } catch {
    throw denied('failed to parse Kubernetes token')
  }
  if (typeof name !== 'string' || name === '') throw denied('kubernetes.io/pod/name claim is missing from Kubernetes token')
  return name
}

/** Whom a pod may ask an identity for: itself, or what it is of the control plane; several with commas between. */
function expected(pod: Pod, controlNamespace: string): { ids: string[]; controlPlane: boolean } {
  const programs = pod.metadata.annotations?.[CONTROL_PLANE]
  const appId = annotation(pod, APP_ID)
  if (programs === undefined) return { ids: [appId ?? pod.metadata.name], controlPlane: false }
  if (pod.metadata.namespace !== controlNamespace)
    throw denied(`control plane service in namespace '${pod.metadata.namespace}' is not allowed`)
  const names = programs.split(',')
  if (!names.every((name) => PROGRAMS.has(name))) throw denied(`unknown control plane service '${pod.metadata.name}'`)
  if (appId !== undefined) throw denied(`control plane service '${pod.metadata.name}' cannot have annotation 'dapr.io/app-id'`)
  return { ids: names.map((name) => `dapr-${name}`), controlPlane: true }
}

function annotation({ metadata }: Pod, names: readonly string[]): string | undefined {
  return names.map((name) => metadata.annotations?.[name]).find((value) => value !== undefined)
}

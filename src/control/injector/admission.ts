import { isTruthy } from '../../components/metadata.ts'
import { messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import { PREFIXES } from './annotations.ts'
import { hasSidecar, type Operation, sidecarPatch } from './patch.ts'
import type { Platform } from './platform.ts'
import { type Container, parsePod } from './pod.ts'
import type { Requester } from './requesters.ts'
import { Wishes } from './wishes.ts'

/** What an admission needs to know that is not in the request. */
export interface AdmissionContext {
  mayInject(requester: Requester): boolean
  /** For pods of this namespace. */
  platform(namespace: string): Promise<Platform>
  /** Containers that Components of a namespace name, for an app. */
  componentContainers(namespace: string, appId: string): Promise<readonly Container[]>
  readonly log: Logger
  /** Counts an outcome; without a reason it went well. */
  readonly count: { request(): void; injected(appId: string): void; failed(appId: string, reason: string): void }
}

/** The answer, as `admission.k8s.io/v1` has it. */
export interface AdmissionResponse {
  uid: string
  allowed: boolean
  patch?: string
  patchType?: 'JSONPatch'
  warnings?: readonly string[]
  status?: { message: string }
}

interface Request {
  uid?: string
  kind?: { kind?: string }
  namespace?: string
  userInfo?: { username?: string; groups?: string[] }
  object?: { metadata?: { name?: string; annotations?: Record<string, string> } }
}

/** Most characters of one warning; API servers cut longer ones. */
const LONGEST_WARNING = 250

/**
 * Answers an AdmissionReview. Never rejects: what goes wrong is a refusal with its reason. Whoever may not have a sidecar, and
 * whatever asks for none, passes unchanged.
 * @param everyPod the namespace is labelled, so that pods need not ask.
 */
export async function review(body: unknown, context: AdmissionContext, everyPod: boolean): Promise<Record<string, unknown>> {
  const envelope = (typeof body === 'object' && body !== null ? body : {}) as { apiVersion?: unknown; kind?: unknown; request?: Request }
  const { request } = envelope
  const response = request ? await admit(request, context, everyPod) : refusal('', 'the body is no AdmissionReview with a request')
  return {
    apiVersion: typeof envelope.apiVersion === 'string' ? envelope.apiVersion : 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    response,
  }
}

async function admit(request: Request, context: AdmissionContext, everyPod: boolean): Promise<AdmissionResponse> {
  const { log, count } = context
  const uid = request.uid ?? ''
  const annotations = request.object?.metadata?.annotations ?? {}
  const appId = annotations[`${PREFIXES.own}app-id`] ?? annotations[`${PREFIXES.dapr}app-id`] ?? request.object?.metadata?.name ?? ''
  if (request.kind?.kind !== 'Pod') {
    log.error(
      `an admission review of the kind ${request.kind?.kind ?? 'nothing'} was let through; the webhook should be asked for pods only`,
    )
    count.failed(appId, 'pod_patch')
    return { uid, allowed: true }
  }
  const asked = annotations[`${PREFIXES.own}enabled`] ?? annotations[`${PREFIXES.dapr}enabled`]
  if (asked === undefined ? !everyPod : !isTruthy(asked)) return { uid, allowed: true }
  const requester = { username: request.userInfo?.username ?? '', groups: request.userInfo?.groups ?? [] }
  if (!context.mayInject(requester)) {
    log.error(
      `service account '${requester.username}' is not on the list of allowed controller accounts; the pod of ${appId} gets no sidecar (ALLOWED_SERVICE_ACCOUNTS)`,
    )
    count.failed(appId, 'pod_patch')
    return {
      uid,
      allowed: true,
      warnings: [`no sidecar is added for pods that ${requester.username || 'this user'} makes; add it to ALLOWED_SERVICE_ACCOUNTS`],
    }
  }
  try {
    const { operations, warnings } = await patchOf(request, context)
    if (operations.length > 0) {
      count.injected(appId)
      log.info(`sidecar added to a pod of ${appId} in ${request.namespace ?? ''}`)
    }
    return {
      uid,
      allowed: true,
      ...(operations.length > 0 && { patch: Buffer.from(JSON.stringify(operations)).toString('base64'), patchType: 'JSONPatch' as const }),
      ...(warnings.length > 0 && { warnings: warnings.map((text) => text.slice(0, LONGEST_WARNING)) }),
    }
  } catch (error) {
    log.error(`no sidecar for the pod of ${appId} in ${request.namespace ?? ''}: ${messageOf(error)}`)
    count.failed(appId, 'patch')
    return refusal(uid, messageOf(error))
  }
}

async function patchOf(request: Request, context: AdmissionContext): Promise<{ operations: Operation[]; warnings: readonly string[] }> {
  const pod = parsePod(request.object)
  if (hasSidecar(pod)) return { operations: [], warnings: [] }
  const namespace = request.namespace ?? ''
  const wishes = new Wishes(pod.annotations)
  if (wishes.text('app-id') === '') {
    if (pod.named)
      wishes.warn(`${PREFIXES.dapr}app-id is missing: the app gets the id "${pod.name}" of this pod, which its next pod will not have`)
    wishes.fallback('app-id', pod.name)
  }
  wishes.fallback('enabled', 'true')
  const injected = wishes.on('inject-pluggable-components') ? await context.componentContainers(namespace, wishes.text('app-id')) : []
  const operations = sidecarPatch(pod, wishes, await context.platform(namespace), injected)
  return { operations, warnings: wishes.warnings }
}

function refusal(uid: string, message: string): AdmissionResponse {
  return { uid, allowed: false, status: { message } }
}

import { setTimeout as delay } from 'node:timers/promises'
import type { Cluster } from '../../components/kubernetes/cluster.ts'
import { isTruthy, parseDuration } from '../../components/metadata.ts'
import { messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import { annotationOf } from './annotation.ts'

export interface WatchdogOptions {
  cluster: Cluster
  /** Empty: all. */
  namespace: string
  /** Of the control plane, where the injector runs. */
  ownNamespace: string
  /** `0`: never; `once`; or a duration. */
  interval: string
  maxPerMinute: number
  mayLabel: boolean
  log: Logger
}

interface Pod {
  metadata: { name: string; namespace: string; annotations?: Record<string, string>; deletionTimestamp?: string }
  spec: { containers?: { name: string }[]; initContainers?: { name: string }[] }
}

const LABEL = 'dapr.io/watchdog-patched'
/** Pods that the injector has seen carry its label. */
const SELECTOR = `!dapr.io/sidecar-injected,!${LABEL}`
const RETRY = 5000

/** Milliseconds; 0: never, Infinity: once. Throws when it is neither. */
export function watchdogInterval(text: string): number {
  if (text === 'once') return Number.POSITIVE_INFINITY
  const value = text === '0' || text === '' ? 0 : parseDuration(text)
  if (value === undefined || value < 0) throw new Error(`--watch-interval is "${text}"; expected a duration, once, or 0`)
  return value
}

/** Deletes pods that were made while no injector was there, so that they are made anew with a sidecar. Does not reject. */
export async function watchPods(options: WatchdogOptions, signal: AbortSignal): Promise<void> {
  const interval = watchdogInterval(options.interval)
  if (interval === 0) return
  const { log } = options
  let done = false
  while (!signal.aborted && !(done && interval === Number.POSITIVE_INFINITY)) {
    try {
      done = await sweep(options, signal)
    } catch (error) {
      if (!signal.aborted) log.error(`pods without a sidecar could not be looked for: ${messageOf(error)}`)
    }
    await delay(done ? Math.min(interval, 2 ** 31 - 1) : RETRY, undefined, { signal }).catch(() => {})
  }
}

async function sweep(options: WatchdogOptions, signal: AbortSignal): Promise<boolean> {
  const { cluster, namespace, ownNamespace, maxPerMinute, mayLabel, log } = options
  if (!(await isInjecting(cluster, ownNamespace, signal))) {
    log.warn('no sidecar injector is running, so pods without a sidecar stay; they would come back without one')
    return false
  }
  const place = namespace === '' ? '' : `/namespaces/${encodeURIComponent(namespace)}`
  const list = (await cluster.get(`/api/v1${place}/pods?labelSelector=${encodeURIComponent(SELECTOR)}`, signal)) as { items?: Pod[] }
  for (const { metadata, spec } of list.items ?? []) {
    if (signal.aborted) return false
    if (!isTruthy(annotationOf(metadata.annotations, 'enabled')) || metadata.deletionTimestamp) continue
    const path = `/api/v1/namespaces/${encodeURIComponent(metadata.namespace)}/pods/${metadata.name}`
    if ([...(spec.containers ?? []), ...(spec.initContainers ?? [])].some(({ name }) => name === 'daprd')) {
      if (mayLabel) await cluster.patch(path, 'merge', { metadata: { labels: { [LABEL]: 'true' } } }, signal)
      continue
    }
    log.warn(`the pod ${metadata.namespace}/${metadata.name} has no sidecar and is deleted`)
    await cluster.delete(path, signal)
    if (maxPerMinute > 0) await delay(60_000 / maxPerMinute, undefined, { signal }).catch(() => {})
  }
  return true
}

/** Dapr's injector or ours by its name, or whatever runs ours among other programs. */
async function isInjecting(cluster: Cluster, namespace: string, signal: AbortSignal): Promise<boolean> {
  for (const selector of ['app=dapr-sidecar-injector', 'outrider.dev/injector=true']) {
    const path = `/apis/apps/v1/namespaces/${encodeURIComponent(namespace)}/deployments?labelSelector=${encodeURIComponent(selector)}`
    const found = (await cluster.get(path, signal)) as { items?: { status?: { readyReplicas?: number } }[] } | undefined
    if (found?.items?.some(({ status }) => (status?.readyReplicas ?? 0) > 0)) return true
  }
  return false
}

import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { type Cluster, ClusterError } from '../components/kubernetes/cluster.ts'
import { messageOf } from '../errors.ts'
import type { Logger } from '../telemetry/log.ts'

export interface LeaderOptions {
  cluster: Cluster
  namespace: string
  /** Of the Lease. */
  name: string
  /** What only one may do at a time; ends itself with the signal. It does not reject. */
  lead(signal: AbortSignal): Promise<void>
  /** Milliseconds, default 15 s. */
  life?: number
  log: Logger
}

interface Lease {
  metadata: { name: string; namespace: string; resourceVersion?: string }
  spec?: { holderIdentity?: string; leaseDurationSeconds?: number; acquireTime?: string; renewTime?: string; leaseTransitions?: number }
}

/**
 * Leads while it holds a Lease, as the controllers of Kubernetes do among each other. A holder counts as gone when its Lease has not
 * changed for as long as it lives, by our own clock. Gives it back at the end.
 */
export async function leadWhileElected(options: LeaderOptions, signal: AbortSignal): Promise<void> {
  const { cluster, namespace, name, log, life = 15_000 } = options
  const collection = `/apis/coordination.k8s.io/v1/namespaces/${encodeURIComponent(namespace)}/leases`
  const path = `${collection}/${name}`
  const identity = `${hostname()}_${randomUUID()}`
  let seen = ''
  let changedAt = 0
  let term: { stop: AbortController; work: Promise<void>; renewedAt: number } | undefined

  const tryHold = async (release = false): Promise<boolean> => {
    const found = (await cluster.get(path)) as Lease | undefined
    const holder = found?.spec?.holderIdentity ?? ''
    const version = found?.metadata.resourceVersion ?? ''
    if (version !== seen) changedAt = performance.now()
    seen = version
    const expired = performance.now() - changedAt > (found?.spec?.leaseDurationSeconds ?? 0) * 1000
    if (found && holder !== '' && holder !== identity && !expired) return false
    const now = new Date().toISOString().replace('Z', '000Z')
    const ours = holder === identity
    const spec = {
      holderIdentity: release ? '' : identity,
      leaseDurationSeconds: release ? 1 : Math.ceil(life / 1000),
      acquireTime: ours ? (found?.spec?.acquireTime ?? now) : now,
      renewTime: now,
      leaseTransitions: (found?.spec?.leaseTransitions ?? 0) + (ours || !found ? 0 : 1),
    }
    const lease = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: found?.metadata ?? { name, namespace }, spec }
    try {
      const made = (await (found ? cluster.replace(path, lease) : cluster.create(collection, lease))) as Lease | undefined
      seen = made?.metadata.resourceVersion ?? seen
      changedAt = performance.now()
      return true
    } catch (error) {
      // Somebody else was faster.
      if (error instanceof ClusterError && error.status === 409) return false
      throw error
    }
  }
  const begin = () => {
    const stop = new AbortController()
    log.info(`leading, by the Lease ${namespace}/${name}`)
    return { stop, work: options.lead(stop.signal), renewedAt: performance.now() }
  }
  const resign = async () => {
    term?.stop.abort()
    await term?.work
    term = undefined
  }
  let complaint = ''
  while (!signal.aborted) {
    try {
      const held = await tryHold()
      if (held) {
        term ??= begin()
        term.renewedAt = performance.now()
      } else if (term) {
        log.warn(`somebody else holds the Lease ${namespace}/${name} now`)
        await resign()
      }
      complaint = ''
    } catch (error) {
      const text = messageOf(error)
      if (text !== complaint) log.warn(`the Lease ${namespace}/${name} is out of reach: ${text}`)
      complaint = text
    }
    // Others take it when its life is over: nobody leads on beyond two thirds of it.
    if (term && performance.now() - term.renewedAt > (life * 2) / 3) await resign()
    await delay(life / 6, undefined, { signal }).catch(() => {})
  }
  const led = term !== undefined
  await resign()
  if (led) await tryHold(true).catch(() => {})
}

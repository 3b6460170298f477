import { setTimeout as delay } from 'node:timers/promises'
import { type Cluster, ClusterError } from '../../components/kubernetes/cluster.ts'
import type { Manifest } from './manifest.ts'

interface Named {
  apiVersion: string
  kind: string
  metadata: { name: string; namespace?: string }
}

/** The path of an object in the API, for the kinds that an installation has. */
export function pathOf(manifest: Manifest): string {
  const { apiVersion, kind, metadata } = manifest as unknown as Named
  const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`
  const place = metadata.namespace === undefined ? '' : `/namespaces/${encodeURIComponent(metadata.namespace)}`
  return `${root}${place}/${kind.toLowerCase().replace(/y$/, 'ie')}s/${encodeURIComponent(metadata.name)}`
}

/** Makes an object, or makes it what it should be; what others added to it stays. A kind that was just defined is waited for. */
export async function applyManifest(cluster: Cluster, manifest: Manifest, signal: AbortSignal): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      await cluster.patch(`${pathOf(manifest)}?fieldManager=outrider&force=true`, 'apply', manifest, signal)
      return
    } catch (error) {
      if (!(error instanceof ClusterError && error.status === 404) || tries === 20) throw error
      await delay(500, undefined, { signal })
    }
  }
}

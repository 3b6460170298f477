import type { Cluster } from '../../components/kubernetes/cluster.ts'
import { isTruthy } from '../../components/metadata.ts'
import type { Logger } from '../../telemetry/log.ts'
import { Informer, type KubeObject } from '../informer.ts'
import { annotationOf } from './annotation.ts'

/** What is kept of an app's pod. */
export interface AppPod {
  readonly namespace: string
  readonly appId: string
  readonly config: string
}

/** The pods that have a sidecar and name a Configuration, by their metadata alone. */
export function podInformer(cluster: Cluster, namespace: string, log: Logger): Informer<AppPod> {
  const path = `/api/v1${namespace === '' ? '' : `/namespaces/${encodeURIComponent(namespace)}`}/pods`
  return new Informer<AppPod>({ cluster, path, metadataOnly: true, keep: appPod, log })
}

function appPod({ metadata }: KubeObject): AppPod | undefined {
  const config = annotationOf(metadata.annotations, 'config')
  const enabled = isTruthy(annotationOf(metadata.annotations, 'enabled')) || metadata.labels?.['dapr.io/sidecar-injected'] === 'true'
  if (!config || !enabled) return undefined
  return { namespace: metadata.namespace ?? '', appId: annotationOf(metadata.annotations, 'app-id') || metadata.name, config }
}

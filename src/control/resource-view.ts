import type { Cluster } from '../components/kubernetes/cluster.ts'
import type { Informer, KubeObject } from './informer.ts'

/** Resources as admission looks at them. */
export interface ResourceView {
  components(namespace: string, signal: AbortSignal): Promise<readonly KubeObject[]>
  /** Undefined: there is none of this name. */
  configuration(namespace: string, name: string, signal: AbortSignal): Promise<KubeObject | undefined>
}

/** Asks the API server each time. */
export function askedView(cluster: Cluster): ResourceView {
  const collection = (namespace: string, plural: string) => `/apis/dapr.io/v1alpha1/namespaces/${encodeURIComponent(namespace)}/${plural}`
  return {
    async components(namespace, signal) {
      const list = (await cluster.get(collection(namespace, 'components'), signal)) as { items?: KubeObject[] } | undefined
      return list?.items ?? []
    },
    configuration: async (namespace, name, signal) =>
      (await cluster.get(`${collection(namespace, 'configurations')}/${name}`, signal)) as KubeObject | undefined,
  }
}

/** Reads what is followed already, once it is there; until then asks. */
export function followedView(informers: { Component: Informer; Configuration: Informer }, asked: ResourceView): ResourceView {
  const { Component, Configuration } = informers
  return {
    async components(namespace, signal) {
      if (!Component.synced) return asked.components(namespace, signal)
      return [...Component.values()].filter(({ metadata }) => metadata.namespace === namespace)
    },
    async configuration(namespace, name, signal) {
      return Configuration.synced ? Configuration.get(namespace, name) : asked.configuration(namespace, name, signal)
    },
  }
}

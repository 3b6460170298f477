import type { Cluster } from './cluster.ts'
import type { Listener } from './listener.ts'

/** What a proxy does, whoever described it. */
export interface ProxyModel {
  listeners: readonly Listener[]
  clusters: readonly Cluster[]
  admin: { host: string; port: number } | undefined
  node: { id: string; cluster: string }
}

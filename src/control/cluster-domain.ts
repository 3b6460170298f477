/** The cluster's domain by the search list of a pod's resolv.conf: `svc.cluster.local` is among it. */
export function clusterDomainOf(resolvConf: string): string {
  const search = /^search\s+(.+)$/m.exec(resolvConf)?.[1]?.split(/\s+/) ?? []
  return search.find((domain) => domain.startsWith('svc.'))?.slice(4) ?? 'cluster.local'
}

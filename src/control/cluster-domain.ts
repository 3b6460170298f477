/** The cluster's domain by the search list of a pod's resolv.conf, where `svc.cluster.local` is among it. */
export function clusterDomainOf(resolvConf: string, otherwise = 'cluster.local'): string {
  const search = /^search\s+(.+)$/m.exec(resolvConf)?.[1]?.split(/\s+/) ?? []
  return search.find((domain) => domain.startsWith('svc.'))?.slice(4) ?? otherwise
}

import type { ProxyModel } from '../model/model.ts'
import { cluster } from './clusters.ts'
import { address } from './common.ts'
import { listener } from './listeners.ts'
import { ConfigError, type ConfigProblem, ConfigReader } from './reader.ts'

export interface ReadConfig {
  model: ProxyModel
  /** What was passed over, with `lenient`. */
  remarks: readonly ConfigProblem[]
}

/**
 * Reads a static configuration of Envoy. Throws ConfigError with every problem, fields that nothing acts on among them, unless
 * `lenient`: then those are remarks.
 */
export function readBootstrap(text: string, file: string, lenient = false): ReadConfig {
  const reader = new ConfigReader(text, file)
  const { root } = reader
  const node = root.get('node')
  const id = { id: node?.text('id', '') ?? '', cluster: node?.text('cluster', '') ?? '' }
  const resources = root.need('static_resources')
  const clusters = resources.list('clusters').map(cluster)
  const listeners = resources.list('listeners').map(listener)
  const admin = root.get('admin')
  const log = admin?.get('access_log_path')
  if (log && log.value !== '/dev/null') log.unsupported('must be /dev/null: calls of the admin port are not logged')
  const at = admin?.get('address')
  const model: ProxyModel = { listeners, clusters, admin: at && adminAddress(at), node: id }
  reader.finish()
  for (const [path, message] of contradictions(model)) reader.complain(path, message)
  const fatal = reader.problems.filter(({ unsupported }) => !(unsupported && lenient))
  if (fatal.length > 0) throw new ConfigError(fatal)
  return { model, remarks: reader.problems }
}

function adminAddress(node: Parameters<typeof address>[0]): { host: string; port: number } {
  const { host, port, path } = address(node)
  if (path !== undefined) node.unsupported('must be a socket_address')
  return { host, port }
}

/** Services that are named and are not there, names that are there twice. */
export function contradictions({ listeners, clusters }: ProxyModel): [path: (string | number)[], message: string][] {
  const found: [(string | number)[], string][] = []
  const known = new Set<string>()
  for (const [index, { name }] of clusters.entries()) {
    if (known.has(name)) found.push([['static_resources', 'clusters', index], `has the name ${name}, as another one has`])
    known.add(name)
  }
  const look = (index: number, name: string, where: string) => {
    if (!known.has(name))
      found.push([['static_resources', 'listeners', index], `${where} names the cluster ${JSON.stringify(name)}, which is not there`])
  }
  for (const [index, { chains }] of listeners.entries())
    for (const { handling } of chains) {
      if (handling.kind === 'tcp') for (const { service } of handling.to) look(index, service, 'the TCP proxy')
      else
        for (const host of handling.routes.hosts)
          for (const { action, name, match } of host.routes) {
            if (action.kind !== 'forward') continue
            const where = `the route ${name || JSON.stringify(Object.values(match.path)[0])} of ${host.name}`
            if (!('header' in action.to)) for (const { service } of action.to) look(index, service, where)
            for (const { service } of action.mirrors) look(index, service, where)
          }
    }
  return found
}

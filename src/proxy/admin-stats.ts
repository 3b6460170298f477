import type { ProxyServer } from './server.ts'
import { BUCKETS, type Histogram } from './stats.ts'

/** Figures that go down as well as up. */
const GAUGES = /_active$|^membership_(?!change)|^live$|^uptime$/

/** All figures by Envoy's names, sorted. */
export function statsText(proxy: ProxyServer): [name: string, value: number][] {
  const lines: [string, number][] = []
  for (const [stat, figures] of proxy.figures)
    for (const [name, value] of Object.entries(figures)) lines.push([`http.${stat}.${name}`, value])
  for (const { model, figures } of proxy.listeners)
    for (const [name, value] of Object.entries(figures)) lines.push([`listener.${addressText(model)}.${name}`, value])
  for (const [service, { figures }] of proxy.clusters)
    for (const [name, value] of Object.entries(figures)) lines.push([`cluster.${service}.${name}`, value])
  lines.push(['server.live', proxy.state === 'open' ? 1 : 0], ['server.uptime', Math.floor((Date.now() - proxy.started) / 1000)])
  return lines.sort(([a], [b]) => (a < b ? -1 : 1))
}

/** One family of Prometheus's text format. */
interface Family {
  type: 'counter' | 'gauge' | 'histogram'
  lines: string[]
}

/** All figures in Prometheus's text format, by the names that Envoy has for them there; `prefix` stands in front of them. */
export function prometheus(proxy: ProxyServer, prefix = 'envoy_'): string {
  const families = new Map<string, Family>()
  const family = (name: string, type: Family['type']): string[] => {
    const known = families.get(name) ?? { type, lines: [] }
    families.set(name, known)
    return known.lines
  }
  const add = (group: string, name: string, labels: string, value: number) => {
    // upstream_rq_2xx is upstream_rq_xx with its class as a label.
    const found = /^(.*_)([1-5])xx$/.exec(name)
    const full = `${prefix}${group}_${found ? `${found[1]}xx` : name}`
    const all = found ? `${labels},envoy_response_code_class="${found[2]}"` : labels
    family(full, GAUGES.test(name) ? 'gauge' : 'counter').push(`${full}{${all}} ${value}`)
  }
  for (const [stat, figures] of proxy.figures)
    for (const [name, value] of Object.entries(figures)) add('http', name, `envoy_http_conn_manager_prefix="${escaped(stat)}"`, value)
  for (const { model, figures } of proxy.listeners)
    for (const [name, value] of Object.entries(figures))
      add('listener', name, `envoy_listener_address="${escaped(addressText(model))}"`, value)
  for (const [service, { figures, requestTime }] of proxy.clusters) {
    const label = `envoy_cluster_name="${escaped(service)}"`
    for (const [name, value] of Object.entries(figures)) add('cluster', name, label, value)
    const name = `${prefix}cluster_upstream_rq_time`
    histogram(family(name, 'histogram'), name, label, requestTime)
  }
  const live = `${prefix}server_live`
  family(live, 'gauge').push(`${live}{} ${proxy.state === 'open' ? 1 : 0}`)
  return [...families].map(([name, { type, lines }]) => `# TYPE ${name} ${type}\n${lines.join('\n')}\n`).join('')
}

function histogram(lines: string[], name: string, label: string, { counts, sum, count }: Histogram): void {
  let below = 0
  for (const [at, bound] of BUCKETS.entries()) {
    below += counts[at] as number
    lines.push(`${name}_bucket{${label},le="${bound}"} ${below}`)
  }
  lines.push(`${name}_bucket{${label},le="+Inf"} ${count}`, `${name}_sum{${label}} ${sum}`, `${name}_count{${label}} ${count}`)
}

function addressText({ host, port, path }: { host: string; port: number; path?: string }): string {
  return path ?? `${host}_${port}`
}

function escaped(text: string): string {
  return text.replace(/[\\"\n]/g, (one) => (one === '\n' ? '\\n' : `\\${one}`))
}

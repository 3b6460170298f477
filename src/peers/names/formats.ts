import { Resolver as DnsResolver, lookup as lookUp } from 'node:dns/promises'
import { type Address, isHost, parseAddress, type Resolver } from '../resolver.ts'
import { createLookupResolver } from './lookup-resolver.ts'
import { Settings } from './settings.ts'

/** As daprd remembers what a headless service answered. */
const DNS_TTL = 20_000

/** Dapr's `nameformat`: the app id put into a text. */
export function nameFormat(configuration: unknown): Resolver {
  const format = new Settings(configuration).text('format')
  if (!format) throw new Error('format is required, such as "{appid}-dapr.internal:50002"')
  if (!format.includes('{appid}')) throw new Error('format must contain {appid} placeholder')
  const addressOf = (appId: string) => parseAddress(format.replace(/^(dns|passthrough):\/{2,3}/, '').replaceAll('{appid}', () => appId))
  if (!addressOf('app')) throw new Error(`format must give host:port, and ${JSON.stringify(format)} does not; add the port of the sidecars`)
  return fixed((appId) => addressOf(appId))
}

/** Dapr's `kubernetes`: a headless service for each app, its addresses looked up in DNS. */
export function kubernetes(configuration: unknown): Resolver {
  const settings = new Settings(configuration)
  const domain = settings.text('clusterDomain') ?? 'cluster.local'
  const template = settings.text('template')
  const fill = template === undefined ? undefined : compileTemplate(template)
  // Every sidecar of a cluster listens on the same port.
  let own = 50_002
  return createLookupResolver({
    ttl: DNS_TTL,
    async lookup(appId, namespace) {
      const name = fill ? fill({ ID: appId, Namespace: namespace, Port: String(own) }) : `${appId}-dapr.${namespace}.svc.${domain}:${own}`
      const address = parseAddress(name, own)
      // An id that no name can hold is nobody's.
      if (!address) return []
      return all(address.host, address.port).catch((error: Error) => {
        throw new Error(`failed to resolve address for '${address.host}': ${error.message}`, { cause: error })
      })
    },
    async register({ port }) {
      own = port
      return async () => {}
    },
  })
}

/** Ours: `dns`, addresses or SRV records of a name with the app id in it. */
export function dnsNames(configuration: unknown): Resolver {
  const settings = new Settings(configuration)
  const format = settings.text('name')
  if (!format?.includes('{appid}')) throw new Error('name is required and must contain {appid}, such as "{appid}.apps.internal"')
  const record = (settings.text('record') ?? 'address').toLowerCase()
  const port = settings.number('port')
  if (record !== 'address' && record !== 'srv') throw new Error(`record must be address or srv, not ${record}`)
  if (record === 'address' && port === undefined) throw new Error('port is required unless record is srv')
  const servers = settings.texts('servers')
  const dns = new DnsResolver({ timeout: 1000, tries: 2 })
  if (servers.length > 0) dns.setServers(servers)
  const addresses = async (host: string, at: number): Promise<Address[]> => {
    if (servers.length === 0) return all(host, at)
    const found = await Promise.allSettled([dns.resolve4(host), dns.resolve6(host)])
    const hosts = found.flatMap((one) => (one.status === 'fulfilled' ? one.value : []))
    if (hosts.length === 0) for (const one of found) if (one.status === 'rejected') emptyIfUnknown(one.reason)
    return hosts.map((one) => ({ host: one, port: at }))
  }
  return createLookupResolver({
    ttl: settings.milliseconds(DNS_TTL, 'ttl'),
    async lookup(appId, namespace) {
      const name = format.replace(/{appid}|{namespace}/g, (part) => (part === '{appid}' ? appId : namespace))
      if (!isHost(name)) return []
      if (record === 'address') return addresses(name, port as number)
      const records = await dns.resolveSrv(name).catch(emptyIfUnknown)
      // Those of the lowest priority number are the ones to use (RFC 2782).
      const first = Math.min(...records.map(({ priority }) => priority))
      const chosen = records.filter(({ priority }) => priority === first).slice(0, 32)
      return (await Promise.all(chosen.map((one) => addresses(one.name, one.port)))).flat()
    },
    async close() {
      dns.cancel()
    },
  })
}

/** Ours: `static`, a list of addresses for each app. */
export function staticList(configuration: unknown): Resolver {
  const apps = new Map<string, Address[]>()
  const listed = new Settings(configuration).get('apps')
  if (typeof listed !== 'object' || listed === null || Array.isArray(listed))
    throw new Error('apps is required: an object of app ids, each with an address or a list of them, such as orders: ["10.0.0.4:50002"]')
  for (const [appId, value] of Object.entries(listed)) {
    const addresses = (Array.isArray(value) ? value : [value]).map((text) => {
      const address = parseAddress(String(text))
      if (!address) throw new Error(`apps.${appId}: ${JSON.stringify(text)} is not host:port`)
      return address
    })
    apps.set(appId, addresses)
  }
  return fixed((appId) => apps.get(appId))
}

function fixed(find: (appId: string) => Address | Address[] | undefined): Resolver {
  return {
    resolve(appId) {
      const found = find(appId)
      return found === undefined ? [] : Array.isArray(found) ? found : [found]
    },
    invalidate() {},
    async register() {
      return { async [Symbol.asyncDispose]() {} }
    },
    async [Symbol.asyncDispose]() {},
  }
}

async function all(host: string, port: number): Promise<Address[]> {
  const found = await lookUp(host, { all: true }).catch(emptyIfUnknown)
  return found.map(({ address }) => ({ host: address, port }))
}

/** A name that does not exist is an answer; a server that does not answer is an error. */
function emptyIfUnknown(error: unknown): never[] {
  const { code } = error as NodeJS.ErrnoException
  if (code === 'ENOTFOUND' || code === 'ENODATA') return []
  throw error
}

/** Go's text/template as far as addresses need it: {{.ID}}, {{.Namespace}}, {{.Port}}. */
function compileTemplate(template: string): (values: Readonly<Record<string, string>>) => string {
  const parts = template.split(/\{\{(.*?)\}\}/s)
  const names = parts.map((part, index) => {
    if (index % 2 === 0) {
      if (part.includes('{{')) throw new Error(`template ${JSON.stringify(template)} has a {{ without its }}`)
      return undefined
    }
    const name = /^(?:- )?\s*\.(ID|Namespace|Port)\s*(?: -)?$/.exec(part)?.[1]
    if (!name) throw new Error(`template: {{${part}}} is not served; use {{.ID}}, {{.Namespace}} and {{.Port}}`)
    return name
  })
  return (values) => parts.map((part, index) => (names[index] === undefined ? part : values[names[index]])).join('')
}

import { type Address, formatAddress, isHost, type Registration, type Resolver } from '../resolver.ts'
import type { ResolverContext } from '../resolver-registry.ts'
import { openConsul } from './consul-client.ts'
import { createLookupResolver } from './lookup-resolver.ts'
import { Settings } from './settings.ts'

/** An entry of /v1/health/service, as much of it as we read. */
interface HealthEntry {
  Node?: { Address?: string }
  Service?: { Address?: string; Meta?: Record<string, string> | null }
}

/** Dapr's `consul`: sidecars as instances of a service named as the app, the internal port in their meta data. */
export async function consul(configuration: unknown, { log }: ResolverContext): Promise<Resolver> {
  const settings = new Settings(configuration)
  const client = await openConsul(settings.inside('client'), process.env)
  const portKey = settings.text('daprPortMetaKey') ?? 'DAPR_PORT'
  const selfRegister = settings.flag('selfRegister')
  const advanced = settings.get('advancedRegistration')
  const { query, headers } = queryOptions(settings)
  try {
    if (!selfRegister && advanced === undefined)
      await client.get('/v1/agent/self').catch((error: Error) => {
        throw new Error(`failed check on consul agent: ${error.message}`, { cause: error })
      })
  } catch (error) {
    await client[Symbol.asyncDispose]()
    throw error
  }
  return createLookupResolver({
    // With useCache Dapr keeps a watch on what it knows; we ask again now and then, and when an address fails.
    ttl: settings.flag('useCache') ? 10_000 : 1000,
    unknown: (appId) => new Error(`no healthy services found with AppID '${appId}'`),
    async lookup(appId) {
      const reply = await client
        .get(`/v1/health/service/${encodeURIComponent(appId)}`, { passing: '1', ...query }, headers)
        .catch((error: Error) => {
          throw new Error(`failed to query healthy consul services: ${error.message}`, { cause: error })
        })
      return addressesOf(reply, appId, portKey)
    },
    async register(registration) {
      if (!selfRegister && advanced === undefined) return async () => {}
      const body = serviceOf(settings, registration, portKey)
      await client.put('/v1/agent/service/register', body).catch((error: Error) => {
        throw new Error(`failed to register consul service: ${error.message}`, { cause: error })
      })
      log.info(`service:${body.Name} registered on consul agent`)
      return async () => {
        if (!settings.flag('selfDeregister')) return
        const id = String(body.ID ?? body.Name)
        await client
          .put(`/v1/agent/service/deregister/${encodeURIComponent(id)}`)
          .then(() => log.info('deregistered service from consul'))
          .catch((error: Error) => log.warn(`failed to deregister consul service: ${error.message}`))
      }
    },
    async close() {
      await client[Symbol.asyncDispose]()
    },
  })
}

function addressesOf(reply: unknown, appId: string, portKey: string): Address[] {
  const addresses: Address[] = []
  let portless = false
  for (const { Node, Service } of Array.isArray(reply) ? (reply as HealthEntry[]).slice(0, 1000) : []) {
    const host = Service?.Address || Node?.Address
    if (!host || !isHost(host)) continue
    const port = Number(Service?.Meta?.[portKey])
    if (Number.isInteger(port) && port > 0 && port < 65_536) addresses.push({ host, port })
    else portless = true
  }
  if (addresses.length === 0 && portless) throw new Error(`target service AppID '${appId}' found but ${portKey} missing from meta`)
  return addresses
}

/** What we say of ourselves at the agent. */
function serviceOf(settings: Settings, registration: Registration, portKey: string): Record<string, unknown> {
  const { appId, host, port, httpPort, appPort } = registration
  const advanced = settings.get('advancedRegistration')
  if (typeof advanced === 'object' && advanced !== null) {
    const service = canonical(advanced as Record<string, unknown>, ['ID', 'Name', 'Meta'])
    return { ...service, Meta: { ...(service.Meta as object | undefined), [portKey]: String(port) } }
  }
  if (!appPort) throw new Error('metadata property missing: APP_PORT; start the sidecar with --app-port, or without selfRegister')
  const id = `${appId}-${host}-${httpPort}`
  const checks = settings.get('checks')
  const health = `http://${formatAddress({ host, port: httpPort ?? 0 })}/v1.0/healthz?appid=${appId}`
  return {
    ID: id,
    Name: appId,
    Address: host,
    Port: appPort,
    Checks:
      Array.isArray(checks) && checks.length > 0
        ? checks
        : [{ Name: 'Dapr Health Status', CheckID: `daprHealth:${id}`, Interval: '15s', HTTP: health }],
    Tags: settings.texts('tags'),
    Meta: { ...(settings.get('meta') as object | undefined), [portKey]: String(port) },
  }
}

/** Consul reads names in any case; those we look at ourselves get their own. */
function canonical(members: Readonly<Record<string, unknown>>, names: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(members).map(([name, value]) => [names.find((one) => one.toLowerCase() === name.toLowerCase()) ?? name, value]),
  )
}

/** Dapr's `queryOptions` as Consul's API takes them. */
function queryOptions(settings: Settings): { query: Record<string, string>; headers: Record<string, string> } {
  const options = settings.inside('queryOptions')
  const query: Record<string, string> = {}
  const text = { datacenter: 'dc', namespace: 'ns', partition: 'partition', near: 'near', filter: 'filter' } as const
  for (const [name, parameter] of Object.entries(text)) {
    const value = options.text(name)
    if (value !== undefined) query[parameter] = value
  }
  if (options.flag('allowStale')) query.stale = ''
  if (options.flag('requireConsistent')) query.consistent = ''
  if (options.flag('useCache', settings.get('queryOptions') === undefined) && query.consistent === undefined) query.cached = ''
  const token = options.text('token')
  return { query, headers: token ? { 'x-consul-token': token } : {} }
}

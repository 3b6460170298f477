import type { ConfigServerSpec, SourceSpec } from '../../resources/config-server-schema.ts'
import type { OpenRole, RoleContext } from '../role.ts'
import { ConfigHub } from './hub.ts'
import { ofrepRoutes } from './ofrep.ts'
import { ConfigRoutes } from './routes.ts'
import type { OpenSource, Source } from './source.ts'

/** The code of a source loads when one is asked for. */
async function openSource(spec: SourceSpec, context: RoleContext): Promise<Source> {
  const open = async (): Promise<OpenSource> => {
    if (spec.consul) return (await import('./sources/consul.ts')).openConsul
    if (spec.etcd) return (await import('./sources/etcd.ts')).openEtcd
    if (spec.redis) return (await import('./sources/redis.ts')).openRedisSource
    if (spec.files) return (await import('./sources/files.ts')).openFiles
    return (await import('./sources/component.ts')).openComponent
  }
  return (await open())(spec, context)
}

/** Configuration and flags for the apps beside it. */
export const openConfigServer: OpenRole = async (resource, context) => {
  const spec = resource.spec as unknown as ConfigServerSpec
  const { service: own = context.appId, prefix = '' } = spec
  const sources = await Promise.all(spec.sources.map((source) => openSource(source, context)))
  const hub = new ConfigHub(spec, sources, context)
  await hub.open()
  const routes = new ConfigRoutes(hub, own)
  return {
    routes: [
      ...routes.list(prefix),
      ...ofrepRoutes(hub, prefix, () => own),
      ...ofrepRoutes(hub, `${prefix}/features/:service`, ({ params }) => params.service ?? own),
    ],
    metrics() {
      const rows = hub.status
      const row = (name: string, type: string, help: string, value: (one: (typeof rows)[number]) => number) =>
        `# HELP outrider_config_${name} ${help}\n# TYPE outrider_config_${name} ${type}\n${rows
          .map((one, at) => `outrider_config_${name}{server="${resource.name}",source="${spec.sources[at]?.name}"} ${value(one)}\n`)
          .join('')}`
      return (
        row('source_keys', 'gauge', 'Keys of a source.', ({ keys }) => keys) +
        row('source_stale', 'gauge', '1 while a source is away and what it gave last is given.', ({ stale }) => (stale ? 1 : 0)) +
        row('source_reads_total', 'counter', 'Times a source was read.', ({ reads }) => reads) +
        row('source_failures_total', 'counter', 'Times a source could not be read.', ({ failures }) => failures) +
        `# HELP outrider_config_waiting Calls that wait for changes, and streams.\n# TYPE outrider_config_waiting gauge\noutrider_config_waiting{server="${resource.name}"} ${routes.waiting}\n`
      )
    },
    status: () => ({ sources: hub.status, services: hub.services.length, waiting: routes.waiting }),
    [Symbol.asyncDispose]: () => hub[Symbol.asyncDispose](),
  }
}

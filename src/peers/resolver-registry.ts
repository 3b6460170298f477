import type { NameResolutionSpec } from '../resources/configuration-spec.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Resolver } from './resolver.ts'
import { Balancer } from './resolver-balancer.ts'

/** What a way of finding sidecars may know of its own. */
export interface ResolverContext {
  appId: string
  namespace: string
  /** The data folder's shared file. */
  registryFile: string
  log: Logger
}

export type ResolverDriver = (configuration: unknown, context: ResolverContext) => Resolver | Promise<Resolver>

/** By `spec.nameResolution.component`; each loads when it is named. */
const DRIVERS: Readonly<Record<string, () => Promise<ResolverDriver>>> = {
  embedded: async () => (await import('./names/embedded.ts')).embedded,
  mdns: async () => (await import('./names/embedded.ts')).mdnsOnly,
  sqlite: async () => (await import('./names/dapr-sqlite.ts')).daprSqlite,
  consul: async () => (await import('./names/consul.ts')).consul,
  'hashicorp.consul': async () => (await import('./names/consul.ts')).consul,
  kubernetes: async () => (await import('./names/formats.ts')).kubernetes,
  nameformat: async () => (await import('./names/formats.ts')).nameFormat,
  dns: async () => (await import('./names/formats.ts')).dnsNames,
  static: async () => (await import('./names/formats.ts')).staticList,
}

/** Versions that mean the first. */
const VERSIONS: readonly (string | undefined)[] = [undefined, '', 'v0', 'v1']

/**
 * Opens the way of finding other sidecars that the Configuration names; without one, the registry of this machine and mDNS
 * for what that does not know. Throws an Error that names the component and what to write instead.
 */
export async function openResolver(spec: NameResolutionSpec | undefined, context: ResolverContext): Promise<Resolver> {
  const resolver = await open(spec, context)
  const balancer = new Balancer()
  return {
    balancer,
    resolve: (appId, namespace, signal) => resolver.resolve(appId, namespace, signal),
    register: (registration) => resolver.register(registration),
    invalidate: (appId, namespace) => resolver.invalidate(appId, namespace),
    async [Symbol.asyncDispose]() {
      balancer[Symbol.dispose]()
      await resolver[Symbol.asyncDispose]()
    },
  }
}

async function open(spec: NameResolutionSpec | undefined, context: ResolverContext): Promise<Resolver> {
  const name = spec?.component?.toLowerCase()
  if (!name) {
    const resolver = await (await import('./names/embedded.ts')).localFirst(spec?.configuration, context)
    context.log.debug('Initialized name resolution to the registry of this machine and mdns')
    return resolver
  }
  const load = Object.hasOwn(DRIVERS, name) ? DRIVERS[name] : undefined
  if (!load || !VERSIONS.includes(spec?.version))
    throw new Error(
      `couldn't find name resolver ${name}/${spec?.version || 'v1'}: set spec.nameResolution.component of the Configuration to one of ${Object.keys(DRIVERS).join(', ')}`,
    )
  try {
    const resolver = await (await load())(spec?.configuration, context)
    context.log.info(`Initialized name resolution to ${name}`)
    return resolver
  } catch (error) {
    throw new Error(`name resolution ${name}: ${(error as Error).message}`, { cause: error })
  }
}

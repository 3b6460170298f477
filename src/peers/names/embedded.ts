import type { Resolver } from '../resolver.ts'
import type { ResolverContext } from '../resolver-registry.ts'
import { createSqliteRegistry } from '../sqlite-registry.ts'
import { createLocalFirst } from './local-first.ts'
import { createMdnsResolver } from './mdns.ts'

/** The registry of this machine alone. */
export function embedded(_configuration: unknown, { registryFile, log }: ResolverContext): Resolver {
  return createSqliteRegistry({
    path: registryFile,
    onError: (error) => log.warn(`registry of sidecars in ${registryFile}: ${error.message}`),
  })
}

/** mDNS alone, as daprd. */
export function mdnsOnly(_configuration: unknown, { log }: ResolverContext): Promise<Resolver> {
  return createMdnsResolver({ log })
}

/** What is used when nothing is configured. */
export async function localFirst(configuration: unknown, context: ResolverContext): Promise<Resolver> {
  return createLocalFirst(embedded(configuration, context), await mdnsOnly(configuration, context))
}

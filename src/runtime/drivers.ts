import type { Component, DriverModule } from '../components/component.ts'

/** One row of a block's driver registry. */
export interface DriverRow {
  type: string
  versions: readonly string[]
  load(): Promise<DriverModule>
}

/** The registries by what a component type begins with; a registry loads with the first component of its block. */
const REGISTRIES: Readonly<Record<string, () => Promise<readonly DriverRow[]>>> = {
  state: async () => (await import('../components/state/registry.ts')).stateDrivers,
  pubsub: async () => (await import('../components/pubsub/registry.ts')).pubsubDrivers,
  secretstores: async () => (await import('../components/secretstores/registry.ts')).secretStoreDrivers,
  configuration: async () => (await import('../components/configuration/registry.ts')).configurationDrivers,
  lock: async () => (await import('../components/lock/registry.ts')).lockDrivers,
  bindings: async () => (await import('../components/bindings/registry.ts')).bindingDrivers,
  conversation: async () => (await import('../components/conversation/registry.ts')).conversationDrivers,
  crypto: async () => (await import('../components/crypto/registry.ts')).cryptoDrivers,
}

export const BLOCKS = Object.keys(REGISTRIES)

/** Empty, `v0` and `v1` all mean a driver's first version. */
const initial = (version: string) => (version === '' || version === 'v0' ? 'v1' : version.toLowerCase())

/**
 * The driver for a component type and version.
 * Throws an Error naming the type and the nearest known ones when there is none.
 */
export async function findDriver(type: string, version: string): Promise<DriverModule<Component>> {
  const prefix = type.split('.', 1)[0] as string
  const rows = await REGISTRIES[prefix]?.()
  if (!rows) throw new Error(`incorrect type ${type}`)
  const row = rows.find((candidate) => candidate.type === type.toLowerCase() && candidate.versions.includes(initial(version)))
  if (row) return row.load()
  const versions = rows.find((candidate) => candidate.type === type.toLowerCase())?.versions
  const known = versions ? `its versions are ${versions.join(', ')}` : `known types: ${rows.map((candidate) => candidate.type).join(', ')}`
  throw new Error(`couldn't find ${prefix} ${type}/${version || 'v1'}: no such driver; ${known}`)
}

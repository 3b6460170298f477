import { readdir } from 'node:fs/promises'
import { join, parse } from 'node:path'
import type { Component, DriverModule } from '../components/component.ts'
import type { Logger } from '../telemetry/log.ts'
import { adviceForUnbuilt } from './unbuilt-types.ts'

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
  middleware: async () => (await import('../components/middleware/registry.ts')).middlewareDrivers,
  crypto: async () => (await import('../components/crypto/registry.ts')).cryptoDrivers,
}

/** Every driver there is, of all blocks, sorted by type. */
export async function allDrivers(): Promise<DriverRow[]> {
  const registries = await Promise.all(Object.values(REGISTRIES).map((load) => load()))
  return registries.flat().sort((one, other) => (one.type < other.type ? -1 : 1))
}

/** Empty, `v0` and `v1` all mean a driver's first version. */
const initial = (version: string) => (version === '' || version === 'v0' ? 'v1' : version.toLowerCase())

/** Blocks whose components may be processes of their own. */
const PLUGGABLE = new Set(['state', 'pubsub', 'bindings', 'secretstores'])

/** Where pluggable components leave their sockets. Dapr's injector sets the second name, its sidecar reads the first only. */
export function socketsFolder(env: NodeJS.ProcessEnv): string {
  return env.DAPR_COMPONENTS_SOCKETS_FOLDER || env.DAPR_COMPONENT_SOCKETS_FOLDER || '/tmp/dapr-components-sockets'
}

export interface DriverSearch {
  /** Looked into for pluggable components; they win over our own of the same name. */
  sockets: string
  log: Logger
}

/**
 * The driver for a component type and version.
 * Throws an Error naming the type and the nearest known ones when there is none.
 */
export async function findDriver(type: string, version: string, search?: DriverSearch): Promise<DriverModule<Component>> {
  const prefix = type.split('.', 1)[0] as string
  const plugged = search && PLUGGABLE.has(prefix) && initial(version) === 'v1' ? await findPlugged(prefix, type, search) : undefined
  if (plugged) return plugged
  const rows = await REGISTRIES[prefix]?.()
  if (!rows) throw new Error(`incorrect type ${type}`)
  const row = rows.find((candidate) => candidate.type === type.toLowerCase() && candidate.versions.includes(initial(version)))
  if (row) return row.load()
  const versions = rows.find((candidate) => candidate.type === type.toLowerCase())?.versions
  const unbuilt = versions ? undefined : adviceForUnbuilt(type, PLUGGABLE.has(prefix))
  if (unbuilt) throw new Error(`couldn't find ${prefix} ${type}/${version || 'v1'}: ${unbuilt}`)
  const known = versions ? `its versions are ${versions.join(', ')}` : `known types: ${rows.map((candidate) => candidate.type).join(', ')}`
  throw new Error(`couldn't find ${prefix} ${type}/${version || 'v1'}: no such driver; ${known}`)
}

/** Looks for the socket when a component needs it: one left behind by a process that nobody needs is in nobody's way. */
async function findPlugged(prefix: string, type: string, { sockets, log }: DriverSearch): Promise<DriverModule<Component> | undefined> {
  const files = await readdir(sockets).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    throw error
  })
  const wanted = type.slice(prefix.length + 1).toLowerCase()
  const file = files.find((name) => parse(name).name.toLowerCase() === wanted)
  if (file === undefined) return undefined
  const { pluggableDriver } = await import('../components/pluggable/registry.ts')
  return pluggableDriver(prefix, join(sockets, file), log)
}

import type { SecretStore } from '../blocks/secrets/driver.ts'
import { messageOf } from '../errors.ts'
import type { ComponentResource } from '../resources/kinds.ts'
import { componentLogName } from '../resources/load.ts'
import { type GetSecret, type ResolveContext, resolveProperties, secretStoresOf } from '../resources/properties.ts'
import type { Logger } from '../telemetry/log.ts'
import type { ComponentManager } from './component-manager.ts'

export interface LoadContext extends ResolveContext {
  manager: ComponentManager
  log: Logger
  /** `type` or `type/version` rows of Configuration `components.deny`. */
  denied: readonly string[]
  /** Told when a component's topics carry the namespace. */
  onNamespaced?: (name: string) => void
  /** Told which secret a property was read from. */
  onSecretProperty?: (component: string, property: string, secret: string) => void
}

/**
 * Brings components up: those whose secrets come from a store wait for that store, the rest start side by side
 * with secret stores first. Rejects with the first failure that must end the sidecar.
 */
export async function loadComponents(resources: readonly ComponentResource[], context: LoadContext): Promise<void> {
  const wanted = resources.filter((resource) => !isDenied(resource, context))
  const stores = wanted.filter((resource) => resource.type.startsWith('secretstores.'))
  const others = wanted.filter((resource) => !resource.type.startsWith('secretstores.'))
  const up = new Map<string, Promise<void>>()
  const start = (resource: ComponentResource): Promise<void> => {
    const known = up.get(resource.name)
    if (known) return known
    const running = begin(resource)
    up.set(resource.name, running)
    return running
  }
  const begin = async (resource: ComponentResource) => {
    for (const name of secretStoresOf(resource)) {
      const store = stores.find((candidate) => candidate.name === name)
      if (store && store !== resource) await start(store)
    }
    await add(resource, context)
  }
  await settle(stores.map(start))
  await settle(others.map(start))
}

/** Waits for all, then rejects with the first failure: a component that comes up is never left half-started. */
async function settle(running: Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(running)
  for (const result of results) if (result.status === 'rejected') throw result.reason
}

async function add(resource: ComponentResource, context: LoadContext): Promise<void> {
  const { manager, log } = context
  const getSecret: GetSecret = async (store, secret) =>
    manager.set<SecretStore>('secretstores').get(store)?.component.get(secret, { namespace: context.namespace })
  let properties: Record<string, string>
  try {
    const resolved = await resolveProperties(resource, getSecret, context)
    properties = resolved.properties
    if (resolved.namespaced) context.onNamespaced?.(resource.name)
  } catch (error) {
    log.error(`Failed to init component ${componentLogName(resource)}: ${messageOf(error)}`)
    if (resource.ignoreErrors) return
    throw error
  }
  for (const pair of resource.metadata) if (pair.secretKeyRef) context.onSecretProperty?.(resource.name, pair.name, pair.secretKeyRef.name)
  await manager.add({
    name: resource.name,
    type: resource.type,
    version: resource.version,
    ignoreErrors: resource.ignoreErrors,
    initTimeoutMs: resource.initTimeoutMs,
    properties,
  })
}

function isDenied(resource: ComponentResource, { denied, log }: LoadContext): boolean {
  const version = resource.version || 'v1'
  const hit = denied.some((row) => row === resource.type || row === `${resource.type}/${version}`)
  if (hit) log.warn(`component ${componentLogName(resource)} is denied by the Configuration (components.deny) and not loaded`)
  return hit
}

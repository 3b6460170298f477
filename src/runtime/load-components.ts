import type { SecretStore } from '../blocks/secrets/driver.ts'
import { messageOf } from '../errors.ts'
import type { ComponentResource } from '../resources/kinds.ts'
import { componentLogName } from '../resources/load.ts'
import { type GetSecret, type ResolveContext, resolveProperties, secretStoresOf } from '../resources/properties.ts'
import type { Logger } from '../telemetry/log.ts'
import type { ComponentSpec } from './component-instance.ts'
import type { ComponentManager } from './component-manager.ts'

export interface LoadContext extends ResolveContext {
  manager: ComponentManager
  log: Logger
  /** `type` or `type/version` rows of Configuration `components.deny`. */
  denied: readonly string[]
  /** Told whether a component's topics carry the namespace. */
  onNamespaced?: (name: string, namespaced: boolean) => void
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
  let spec: ComponentSpec
  try {
    spec = await resolveSpec(resource, context)
  } catch (error) {
    log.error(`Failed to init component ${componentLogName(resource)}: ${messageOf(error)}`)
    if (resource.ignoreErrors) return
    throw error
  }
  await manager.add(spec)
}

/** A resource with its secrets, environment and templates read. Throws PropertiesError. */
export async function resolveSpec(resource: ComponentResource, context: LoadContext): Promise<ComponentSpec> {
  const { manager } = context
  const getSecret: GetSecret = async (store, secret) =>
    manager.set<SecretStore>('secretstores').get(store)?.component.get(secret, { namespace: context.namespace })
  const { properties, namespaced } = await resolveProperties(resource, getSecret, context)
  context.onNamespaced?.(resource.name, namespaced)
  for (const pair of resource.metadata) if (pair.secretKeyRef) context.onSecretProperty?.(resource.name, pair.name, pair.secretKeyRef.name)
  const { name, type, version, ignoreErrors, initTimeoutMs } = resource
  return { name, type, version, ignoreErrors, initTimeoutMs, properties }
}

/** Whether the Configuration forbids the component; says so in the log. */
export function isDenied(resource: ComponentResource, { denied, log }: Pick<LoadContext, 'denied' | 'log'>): boolean {
  const version = resource.version || 'v1'
  const hit = denied.some((row) => row === resource.type || row === `${resource.type}/${version}`)
  if (hit) log.warn(`component ${componentLogName(resource)} is denied by the Configuration (components.deny) and not loaded`)
  return hit
}

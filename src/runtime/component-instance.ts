import type { Component, ComponentContext } from '../components/component.ts'
import type { Named } from '../components/sets.ts'
import type { Logger } from '../telemetry/log.ts'
import { findDriver } from './drivers.ts'

/** What the manager needs to know of a Component resource. */
export interface ComponentSpec {
  name: string
  type: string
  version: string
  ignoreErrors: boolean
  initTimeoutMs: number
  /** Resolved spec.metadata. */
  properties: Readonly<Record<string, string>>
}

export interface InstanceOptions {
  appId: string
  namespace: string
  log: Logger
  /** Folder of the sockets of pluggable components; undefined: there are none. */
  sockets?: string
  /** Checks what a block itself reads of a component that came up; what it throws is the component's failure. */
  check?: (block: string, component: Named<Component>) => void
}

/** `state` of `state.redis`. */
export function blockOf(type: string): string {
  return type.split('.', 1)[0] as string
}

/** Brings one instance up. Rejects with what keeps it from that, or when the signal aborts; nothing is left open then. */
export async function openComponent(spec: ComponentSpec, options: InstanceOptions, stop: AbortSignal): Promise<Named<Component>> {
  const { sockets, log } = options
  const driver = await findDriver(spec.type, spec.version, sockets === undefined ? undefined : { sockets, log })
  const version = spec.version || 'v1'
  const context: ComponentContext = {
    name: spec.name,
    type: spec.type,
    version,
    properties: spec.properties,
    appId: options.appId,
    namespace: options.namespace,
    log: log.scope(`dapr.contrib.${spec.name}`),
  }
  const component = driver.create(context)
  const late = AbortSignal.timeout(spec.initTimeoutMs)
  try {
    await Promise.race([
      component.init(AbortSignal.any([stop, late])),
      rejection(late, () => new Error(`init timed out after ${spec.initTimeoutMs / 1000}s`)),
    ])
    if (stop.aborted) throw new Error('the component is no more wanted')
    const properties = Object.fromEntries(Object.entries(spec.properties).map(([name, value]) => [name.toLowerCase(), value]))
    const named = { name: spec.name, type: spec.type, version, component, properties }
    options.check?.(blockOf(spec.type), named)
    return named
  } catch (error) {
    await Promise.resolve(component[Symbol.asyncDispose]()).catch(() => {})
    throw error
  }
}

/** As metadata shows them. */
export function capabilitiesOf(component: Component): string[] {
  const shape = component as { features?: readonly string[]; operations?: readonly string[]; invoke?: unknown; read?: unknown }
  const found = [...(shape.features ?? [])]
  if (found.includes('ETAG') && found.includes('TRANSACTIONAL')) found.push('ACTOR')
  if (typeof shape.read === 'function') found.push('INPUT_BINDING')
  if (typeof shape.invoke === 'function') found.push('OUTPUT_BINDING')
  return found
}

function rejection(signal: AbortSignal, error: () => Error): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(error()), { once: true }))
}

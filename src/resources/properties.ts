import { randomUUID } from 'node:crypto'
import { messageOf } from '../errors.ts'
import type { Logger } from '../telemetry/log.ts'
import type { ComponentResource, NameValue, SecretKeyRef } from './kinds.ts'

/** Looks a secret up; undefined when the store has no such secret. Rejects when the store fails. */
export type GetSecret = (store: string, secret: string) => Promise<Readonly<Record<string, string>> | undefined>

export interface ResolveContext {
  appId: string
  /** NAMESPACE as it is. */
  namespace: string
  /** POD_NAME. */
  podName: string
  env: Readonly<Record<string, string | undefined>>
  log: Logger
}

export interface ResolvedProperties {
  /** Values by name as written; what could not be resolved is left out. */
  properties: Record<string, string>
  /** A value held `{namespace}`: topics of this pub/sub component are prefixed with the namespace. */
  namespaced: boolean
}

/** A component whose settings can never become complete; fails its init. */
export class PropertiesError extends Error {
  override readonly name = 'PropertiesError'
}

/** Secret stores that must be up before this component's settings can be read. */
export function secretStoresOf(component: Pick<ComponentResource, 'metadata' | 'auth'>): string[] {
  const needed = component.metadata.some((pair) => pair.secretKeyRef) && component.auth?.secretStore
  return needed ? [needed] : []
}

/**
 * A component's settings with environment, secrets and templates filled in. A missing secret is logged and left
 * out, as daprd goes on then. Throws PropertiesError for `{podName}` without POD_NAME.
 */
export async function resolveProperties(
  component: ComponentResource,
  getSecret: GetSecret,
  context: ResolveContext,
): Promise<ResolvedProperties> {
  const pairs = await resolvePairs(component.metadata, component.auth?.secretStore, getSecret, context, `Component ${component.name}`)
  const properties: Record<string, string> = {}
  let namespaced = false
  for (const [name, value] of Object.entries(pairs)) {
    namespaced ||= value.includes('{namespace}')
    properties[name] = fill(value, name, component, context)
  }
  return { properties, namespaced }
}

/** The same for headers and other pairs; without templates. */
export async function resolvePairs(
  pairs: readonly NameValue[],
  secretStore: string | undefined,
  getSecret: GetSecret,
  context: ResolveContext,
  owner: string,
): Promise<Record<string, string>> {
  const resolved: Record<string, string> = {}
  for (const pair of pairs) {
    const value = pair.value === undefined && pair.envRef ? fromEnvironment(pair.envRef, context, owner, pair.name) : undefined
    const secret =
      value === undefined && pair.secretKeyRef
        ? await fromSecret(pair.secretKeyRef, secretStore, getSecret, context, owner, pair.name)
        : undefined
    const found = value ?? secret ?? pair.value
    if (found !== undefined) resolved[pair.name] = found
  }
  return resolved
}

/** The field a reference names, undefined (and an error in the log) when there is none. */
export async function fromSecret(
  reference: SecretKeyRef,
  store: string | undefined,
  getSecret: GetSecret,
  context: Pick<ResolveContext, 'log'>,
  owner: string,
  field: string,
): Promise<string | undefined> {
  if (!store) {
    context.log.warn(`${owner}: ${field} refers to secret ${reference.name} but names no secret store; set auth.secretStore beside spec`)
    return undefined
  }
  const key = reference.key || reference.name
  try {
    const value = (await getSecret(store, reference.name))?.[key]
    if (value === undefined)
      context.log.error(
        `${owner}: ${field}: secret ${reference.name} in store ${store} has no field ${key}; add it, or correct secretKeyRef`,
      )
    return value
  } catch (error) {
    context.log.error(`${owner}: ${field}: secret ${reference.name} cannot be read from store ${store}: ${messageOf(error)}`)
    return undefined
  }
}

function fromEnvironment(name: string, context: ResolveContext, owner: string, field: string): string | undefined {
  const allowed = context.env.DAPR_ENV_KEYS
  const listed = !allowed || allowed.split(' ').includes(name)
  if (name === 'APP_API_TOKEN' || name.startsWith('DAPR_') || name.includes(' ') || !listed) {
    context.log.warn(
      `${owner}: ${field}: environment variable ${name} may not be read by envRef${listed ? '' : ' because DAPR_ENV_KEYS does not list it'}`,
    )
    return undefined
  }
  return context.env[name]
}

function fill(value: string, name: string, component: ComponentResource, context: ResolveContext): string {
  if (!value.includes('{')) return value
  if (value.includes('{podName}') && context.podName === '') {
    throw new PropertiesError(
      `metadata field ${name} of component ${component.name} uses {podName}, but the environment variable POD_NAME is not set`,
    )
  }
  return value
    .replaceAll('{uuid}', () => randomUUID())
    .replaceAll('{podName}', () => context.podName)
    .replaceAll('{namespace}', () => `${context.namespace}.${context.appId}`)
    .replaceAll('{appID}', () => context.appId)
}

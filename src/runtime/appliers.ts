import { isDeepStrictEqual } from 'node:util'
import type { PolicyObserver } from '../policy/resiliency.ts'
import { Resiliency } from '../policy/resiliency.ts'
import { RELOADED, type ReloadedKind } from '../resources/changes.ts'
import type {
  ComponentResource,
  HttpEndpointResource,
  McpServerResource,
  ResiliencyResource,
  Resource,
  Resources,
  StoreAndForwardResource,
  SubscriptionResource,
  TrafficPolicyResource,
} from '../resources/kinds.ts'
import type { RoleResource } from '../resources/role-kinds.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Blocks } from './blocks.ts'
import type { ComponentManager } from './component-manager.ts'
import type { LiveResiliency } from './live-resiliency.ts'
import { isDenied, type LoadContext, resolveSpec } from './load-components.ts'
import { loadEndpoint } from './load-endpoints.ts'
import { checkMcpServer } from './mcp-server-check.ts'
import type { Applier } from './reload.ts'
import { tellShown } from './shown-resources.ts'
import type { SidecarRoles } from './sidecar-roles.ts'

export interface AppliersOptions {
  log: Logger
  manager: ComponentManager
  blocks: Blocks
  resiliency: LiveResiliency
  observer: PolicyObserver
  /** What is in force. */
  current: Pick<Resources, 'components'>
  /** How Component resources are resolved. */
  context: LoadContext
  roles: SidecarRoles
}

/** What changes while the sidecar runs, kind by kind. */
export function createAppliers(options: AppliersOptions): Record<ReloadedKind, Applier> {
  return {
    Component: components(options),
    HTTPEndpoint: {
      put: (after) => loadEndpoint(after as HttpEndpointResource, { ...options.context, external: options.blocks.external }),
      remove: (before) => options.blocks.external.remove(before.name),
    },
    Resiliency: resiliencies(options),
    TrafficPolicy: {
      put: (after) => options.blocks.traffic.check(after as TrafficPolicyResource),
      remove: () => {},
      commit: (all) => options.blocks.traffic.replace(all as readonly TrafficPolicyResource[]),
    },
    // What is wrong in one has been told when it was read.
    StoreAndForward: {
      put: async () => {},
      remove: () => {},
      commit: (all) => options.blocks.forwarding.replace(all as readonly StoreAndForwardResource[]),
    },
    Subscription: {
      put: (after) => options.blocks.checkSubscription(after as SubscriptionResource),
      remove: () => {},
      appends: true,
      commit: (all) => options.blocks.declareSubscriptions(all as readonly SubscriptionResource[]),
    },
    MCPServer: {
      put: async (after) => {
        checkMcpServer(after as McpServerResource)
        tellShown('MCPServer', after, options.log)
      },
      remove: () => {},
    },
    WorkflowAccessPolicy: { put: async (after) => tellShown('WorkflowAccessPolicy', after, options.log), remove: () => {} },
    Role: roles(options.roles),
  }
}

/** What changes in a process of roles alone, which uses components and roles; the rest is for sidecars of apps. */
export function roleAppliers(options: Pick<AppliersOptions, 'manager' | 'context' | 'current' | 'roles'>): Record<ReloadedKind, Applier> {
  const ignored: Applier = { put: async () => {}, remove: () => {} }
  const kinds = Object.keys(RELOADED).map((kind) => [kind, ignored] as const)
  return {
    ...(Object.fromEntries(kinds) as Record<ReloadedKind, Applier>),
    Component: components(options),
    Role: roles(options.roles),
  }
}

/** A role that cannot take its change over goes on as it was. */
function roles(roles: SidecarRoles): Applier {
  return { put: (after) => roles.put(after as RoleResource), remove: (before) => roles.remove(before as RoleResource) }
}

function isActorStore({ type, metadata }: ComponentResource): boolean {
  return type.startsWith('state.') && metadata.some(({ name }) => name.toLowerCase() === 'actorstatestore')
}

function components({ manager, context, current }: Pick<AppliersOptions, 'manager' | 'context' | 'current'>): Applier {
  // Those that a change of this pass has removed still stand in the list, but no more in the manager.
  const inForce = () => current.components.filter(({ name }) => manager.spec(name) !== undefined)
  return {
    async put(after) {
      const resource = after as ComponentResource
      const other = isActorStore(resource) && inForce().find((one) => one.name !== resource.name && isActorStore(one))
      if (other)
        throw new Error(
          `${other.name} is already the actor state store, only one actor state store is allowed; it is taken when ${other.name} is removed`,
        )
      if (isDenied(resource, context)) {
        manager.remove(resource.name)
        return
      }
      await manager.put(await resolveSpec(resource, context))
    },
    remove: (before) => manager.remove(before.name),
    leads: (resource) => (resource as ComponentResource).type.startsWith('secretstores.') || isActorStore(resource as ComponentResource),
    /** A secret or variable that reads differently makes another component. What a template fills in anew each time does not count. */
    async stale(all) {
      const found: Resource[] = []
      for (const resource of all as readonly ComponentResource[]) {
        const running = manager.spec(resource.name)
        if (!running || !resource.metadata.some((pair) => pair.secretKeyRef || pair.envRef)) continue
        if (resource.metadata.some(({ value }) => value?.includes('{uuid}'))) continue
        const problems: string[] = []
        const spec = await resolveSpec(resource, { ...context, log: listener(problems) }).catch(() => undefined)
        // A store that does not answer right now is no reason to lose a password that works.
        if (spec && problems.length === 0 && !isDeepStrictEqual(spec.properties, running.properties)) found.push(resource)
      }
      return found
    },
  }
}

function resiliencies({ log, resiliency, observer }: AppliersOptions): Applier {
  return {
    // Read alone first: what is wrong in it is told before it replaces anything.
    async put(after) {
      const problems: string[] = []
      await Resiliency.load({ resources: [after as ResiliencyResource], log: listener(problems) })
      if (problems.length > 0) throw new Error(problems.join('; '))
    },
    remove: () => {},
    async commit(all) {
      resiliency.replace(await Resiliency.load({ resources: all as readonly ResiliencyResource[], log, observer }))
    },
  }
}

/** A logger that keeps its errors, and nothing else. */
function listener(errors: string[]): Logger {
  const nothing = () => {}
  const log: Logger = {
    debug: nothing,
    info: nothing,
    warn: nothing,
    error: (message) => void errors.push(message),
    fatal: nothing,
    scope: () => log,
    enabled: () => false,
  }
  return log
}

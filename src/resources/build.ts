import { parseDuration } from '../components/metadata.ts'
import { readStoreAndForward, type StoreAndForwardText } from './forward-schema.ts'
import type {
  ComponentResource,
  HttpEndpointResource,
  McpServerResource,
  NameValue,
  ResiliencyResource,
  ResiliencySpec,
  Resource,
  Resources,
  Source,
  StoreAndForwardResource,
  SubscriptionResource,
  TrafficPolicyResource,
  WorkflowAccessPolicyResource,
  WorkflowAccessRule,
} from './kinds.ts'
import { roleKind } from './role-kinds.ts'
import { type TrafficPolicySpec, unknownReference } from './traffic-schema.ts'

/** A document that fits its schema. */
export interface Manifest {
  apiVersion: string
  kind: string
  metadata: { name: string; namespace?: string }
  scopes?: string[]
  auth?: { secretStore?: string }
  spec: Record<string, unknown>
}

const DEFAULT_INIT_TIMEOUT_MS = 5000

/** What is impossible in a manifest; `path` where one field is to blame. */
export interface Complaint {
  message: string
  path?: readonly string[]
}

/** Puts a manifest where it belongs in `resources`. Gives a complaint when the manifest says something impossible. */
export function addManifest(resources: Resources, manifest: Manifest, source: Source): Complaint | undefined {
  const base: Resource = {
    name: manifest.metadata.name,
    namespace: manifest.metadata.namespace ?? '',
    scopes: manifest.scopes ?? [],
    source,
  }
  switch (manifest.kind) {
    case 'Component':
      resources.components.push(component(base, manifest))
      return undefined
    case 'Subscription':
      resources.subscriptions.push(subscription(base, manifest))
      return undefined
    case 'Resiliency':
      resources.resiliencies.push({ ...base, spec: manifest.spec as ResiliencySpec } satisfies ResiliencyResource)
      return undefined
    case 'HTTPEndpoint':
      resources.httpEndpoints.push(httpEndpoint(base, manifest))
      return undefined
    case 'MCPServer':
      resources.mcpServers.push(mcpServer(base, manifest))
      return undefined
    case 'WorkflowAccessPolicy': {
      const rules = manifest.spec.rules as WorkflowAccessRule[]
      const complaint = complaintAbout(rules)
      if (complaint) return { message: `"${base.name}" failed validation: ${complaint}` }
      resources.workflowAccessPolicies.push({ ...base, rules } satisfies WorkflowAccessPolicyResource)
      return undefined
    }
    case 'TrafficPolicy': {
      const spec = manifest.spec as unknown as TrafficPolicySpec
      const complaint = unknownReference(spec)
      if (complaint) return complaint
      resources.trafficPolicies.push({ ...base, spec } satisfies TrafficPolicyResource)
      return undefined
    }
    case 'StoreAndForward': {
      const spec = readStoreAndForward(manifest.spec as unknown as StoreAndForwardText)
      if ('message' in spec) return spec
      resources.storeAndForwards.push({ ...base, spec } satisfies StoreAndForwardResource)
      return undefined
    }
    default: {
      const role = roleKind(manifest.kind)
      if (!role) return undefined
      const complaint = role.check?.(manifest.spec)
      if (complaint) return complaint
      resources.roles.push({ ...base, kind: manifest.kind, spec: manifest.spec })
      return undefined
    }
  }
}

function component(base: Resource, manifest: Manifest): ComponentResource {
  const spec = manifest.spec as { type: string; version?: string; ignoreErrors?: boolean; initTimeout?: string; metadata?: NameValue[] }
  const timeout = spec.initTimeout === undefined ? undefined : parseDuration(spec.initTimeout)
  return {
    ...base,
    type: spec.type,
    version: spec.version ?? '',
    metadata: spec.metadata ?? [],
    ignoreErrors: spec.ignoreErrors ?? false,
    initTimeoutMs: timeout !== undefined && timeout > 0 ? timeout : DEFAULT_INIT_TIMEOUT_MS,
    auth: manifest.auth,
  }
}

function subscription(base: Resource, manifest: Manifest): SubscriptionResource {
  const { pubsubname, topic, metadata, deadLetterTopic, bulkSubscribe, route, routes } = manifest.spec as {
    pubsubname: string
    topic: string
    metadata?: Record<string, string>
    deadLetterTopic?: string
    bulkSubscribe?: { enabled?: boolean; maxMessagesCount?: number; maxAwaitDurationMs?: number }
    route?: string
    routes?: { default?: string; rules?: { match?: string; path: string }[] }
  }
  return {
    ...base,
    apiVersion: manifest.apiVersion,
    pubsubname,
    topic,
    routes: {
      rules: (routes?.rules ?? []).map((rule) => ({ match: rule.match ?? '', path: rule.path })),
      default: routes ? routes.default : route,
    },
    metadata: metadata ?? {},
    deadLetterTopic: deadLetterTopic || undefined,
    bulkSubscribe: bulkSubscribe && { ...bulkSubscribe, enabled: bulkSubscribe.enabled ?? false },
  }
}

function httpEndpoint(base: Resource, manifest: Manifest): HttpEndpointResource {
  const spec = manifest.spec as { baseUrl: string; headers?: NameValue[]; clientTLS?: HttpEndpointResource['clientTls'] }
  return { ...base, baseUrl: spec.baseUrl, headers: spec.headers ?? [], clientTls: spec.clientTLS, auth: manifest.auth }
}

function mcpServer(base: Resource, manifest: Manifest): McpServerResource {
  const spec = manifest.spec as Pick<McpServerResource, 'endpoint' | 'catalog' | 'middleware'> & { ignoreErrors?: boolean }
  return { ...base, ...spec, ignoreErrors: spec.ignoreErrors ?? false, auth: manifest.auth }
}

/** The rules that a schema cannot say. */
function complaintAbout(rules: readonly WorkflowAccessRule[]): string | undefined {
  for (const [index, rule] of rules.entries()) {
    const where = `spec.rules[${index}]`
    if (!rule.workflows?.length && !rule.activities?.length) return `${where} must name at least one of workflows and activities`
    for (const [position, workflow] of (rule.workflows ?? []).entries()) {
      const place = `${where}.workflows[${position}]`
      if (new Set(workflow.operations).size !== workflow.operations.length) return `${place}.operations names one operation twice`
      if (workflow.requires?.length && workflow.operations.join() !== 'schedule')
        return `${place}.requires needs schedule to be the only operation`
    }
  }
  return undefined
}

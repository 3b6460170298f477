import type { StoreAndForwardSpec } from './forward-schema.ts'
import type { RoleResource } from './role-kinds.ts'
import type { TrafficPolicySpec } from './traffic-schema.ts'

/** Where a resource stands, for messages. */
export interface Source {
  file: string
  /** From 1. */
  line: number
}

/** What every resource has. */
export interface Resource {
  name: string
  /** Empty when the resource names none. */
  namespace: string
  /** App ids; empty means all. */
  scopes: readonly string[]
  source: Source
}

/** A reference to a field of a secret; `key` defaults to `name`. */
export interface SecretKeyRef {
  name: string
  key?: string
}

/** A setting as written, not yet resolved. */
export interface NameValue {
  name: string
  value?: string
  secretKeyRef?: SecretKeyRef
  envRef?: string
}

export interface ComponentResource extends Resource {
  /** e.g. `state.redis`, as written. */
  type: string
  /** As written; empty when absent. */
  version: string
  metadata: readonly NameValue[]
  ignoreErrors: boolean
  initTimeoutMs: number
  auth?: { secretStore?: string }
}

export interface BulkSubscribe {
  enabled: boolean
  /** Default 100. */
  maxMessagesCount?: number
  /** Default 1000. */
  maxAwaitDurationMs?: number
}

/** Both versions of a subscription in the shape of v2alpha1. */
export interface SubscriptionResource extends Resource {
  apiVersion: string
  pubsubname: string
  topic: string
  routes: { rules: readonly { match: string; path: string }[]; default?: string }
  metadata: Readonly<Record<string, string>>
  deadLetterTopic?: string
  bulkSubscribe?: BulkSubscribe
}

export interface RetrySpec {
  policy?: string
  duration?: string
  maxInterval?: string
  maxRetries?: number
  matching?: { httpStatusCodes?: string; gRPCStatusCodes?: string }
}
export interface CircuitBreakerSpec {
  maxRequests?: number
  interval?: string
  timeout?: string
  trip?: string
}
export interface PolicyNames {
  timeout?: string
  retry?: string
  circuitBreaker?: string
}

/** Policies as written; the policy room reads the durations and rules. */
export interface ResiliencySpec {
  policies?: {
    timeouts?: Record<string, string>
    retries?: Record<string, RetrySpec>
    circuitBreakers?: Record<string, CircuitBreakerSpec>
  }
  targets?: {
    apps?: Record<string, PolicyNames & { circuitBreakerCacheSize?: number }>
    actors?: Record<string, PolicyNames & { circuitBreakerScope?: string; circuitBreakerCacheSize?: number }>
    components?: Record<string, { outbound?: PolicyNames; inbound?: PolicyNames }>
  }
}
export interface ResiliencyResource extends Resource {
  spec: ResiliencySpec
}

/** Our own; see docs/traffic.md. */
export interface TrafficPolicyResource extends Resource {
  spec: TrafficPolicySpec
}

/** Our own; see docs/store-and-forward.md. */
export interface StoreAndForwardResource extends Resource {
  spec: StoreAndForwardSpec
}

export interface TlsText {
  value?: string
  secretKeyRef?: SecretKeyRef
}
export interface HttpEndpointResource extends Resource {
  baseUrl: string
  headers: readonly NameValue[]
  clientTls?: { rootCA?: TlsText; certificate?: TlsText; privateKey?: TlsText; renegotiation?: string }
  auth?: { secretStore?: string }
}

export interface McpHttpEndpoint {
  url: string
  protocolVersion?: string
  timeout?: string
  headers?: NameValue[]
  auth?: Record<string, unknown>
}
export interface McpServerResource extends Resource {
  endpoint: { streamableHTTP?: McpHttpEndpoint; sse?: McpHttpEndpoint; stdio?: { command: string; args?: string[]; env?: NameValue[] } }
  catalog?: Record<string, unknown>
  middleware?: Record<string, unknown>
  ignoreErrors: boolean
  auth?: { secretStore?: string }
}

export interface WorkflowRequirement {
  eventType: string
  name?: string
  appID?: string
}
export interface WorkflowAccessRule {
  callers: { appID: string }[]
  workflows?: { name: string; operations: string[]; requires?: WorkflowRequirement[] }[]
  activities?: { name: string; requires?: WorkflowRequirement[] }[]
}
export interface WorkflowAccessPolicyResource extends Resource {
  rules: readonly WorkflowAccessRule[]
}

/** Everything that the resources paths hold for one app. */
export interface Resources {
  components: ComponentResource[]
  subscriptions: SubscriptionResource[]
  resiliencies: ResiliencyResource[]
  httpEndpoints: HttpEndpointResource[]
  mcpServers: McpServerResource[]
  workflowAccessPolicies: WorkflowAccessPolicyResource[]
  trafficPolicies: TrafficPolicyResource[]
  storeAndForwards: StoreAndForwardResource[]
  /** Further roles of the sidecar, of all kinds. */
  roles: RoleResource[]
  /** Documents that could not be used, already logged. */
  rejected: Rejection[]
}

export interface Rejection {
  file: string
  line: number
  column: number
  /** What is wrong and what was expected. */
  message: string
  kind?: string
  name?: string
}

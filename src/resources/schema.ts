import { configurationSpec } from './configuration-schema.ts'
import { storeAndForwardSpec } from './forward-schema.ts'
import type { Schema } from './json-schema.ts'
import { ROLE_KINDS } from './role-kinds.ts'
import { anything, bool, described, int, list, map, object, text, textMap, texts } from './schema-parts.ts'
import { OUTRIDER_V1, trafficPolicySpec } from './traffic-schema.ts'

export const KINDS: readonly string[] = [
  'Component',
  'Configuration',
  'Subscription',
  'Resiliency',
  'HTTPEndpoint',
  'MCPServer',
  'WorkflowAccessPolicy',
  'TrafficPolicy',
  'StoreAndForward',
  ...Object.keys(ROLE_KINDS),
]

/** Of our own, in `outrider.dev/v1`. */
export const OWN_KINDS: readonly string[] = ['TrafficPolicy', 'StoreAndForward', ...Object.keys(ROLE_KINDS)]

export const V1 = 'dapr.io/v1alpha1'
export const V2 = 'dapr.io/v2alpha1'

const secretKeyRef = object({ name: text, key: described('Field of the secret; default: its name.', text) }, ['name'])
const pair = object(
  {
    name: text,
    value: { 'x-text': true, description: 'Text, or any JSON, which is taken as its text.' },
    secretKeyRef,
    envRef: described('Environment variable that is read when there is no value.', text),
  },
  ['name'],
)
const auth = object({ secretStore: described('Secret store that secretKeyRef refers to.', text) })

function kind(name: string, apiVersion: string, spec: Schema, extra: Record<string, Schema> = {}, required: string[] = ['spec']): Schema {
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: `${name} (${apiVersion})`,
    type: 'object',
    properties: {
      apiVersion: { type: 'string', enum: [apiVersion] },
      kind: { type: 'string', enum: [name] },
      metadata: {
        type: 'object',
        properties: { name: { type: 'string', minLength: 1 }, namespace: text },
        required: ['name'],
        additionalProperties: true,
      },
      spec,
      scopes: described('App ids that load this resource; none: all.', texts),
      status: anything,
      ...extra,
    },
    required: ['apiVersion', 'kind', 'metadata', ...required],
  }
}

const component = kind(
  'Component',
  V1,
  object(
    {
      type: described('<category>.<name>, e.g. state.redis.', { type: 'string', minLength: 1 }),
      version: text,
      ignoreErrors: described('Go on when this component cannot start.', bool),
      initTimeout: described('Go duration, default 5s.', text),
      metadata: list(pair),
    },
    ['type'],
  ),
  { auth },
)

const bulkSubscribe = object({ enabled: bool, maxMessagesCount: int, maxAwaitDurationMs: int })
const subscriptionFields = { pubsubname: text, topic: text, metadata: textMap, deadLetterTopic: text, bulkSubscribe }
const subscriptionV1 = kind('Subscription', V1, object({ ...subscriptionFields, route: text }, ['pubsubname', 'topic']))
const routes = object({ default: text, rules: list(object({ match: described('CEL over `event`.', text), path: text }, ['path'])) })
const subscriptionV2 = kind('Subscription', V2, object({ ...subscriptionFields, routes }, ['pubsubname', 'topic']))

const policyNames = { timeout: text, retry: text, circuitBreaker: text }
const resiliency = kind(
  'Resiliency',
  V1,
  object({
    policies: object({
      timeouts: map(text),
      retries: map(
        object({
          policy: text,
          duration: text,
          maxInterval: text,
          maxRetries: int,
          matching: object({ httpStatusCodes: text, gRPCStatusCodes: text }),
        }),
      ),
      circuitBreakers: map(object({ maxRequests: int, interval: text, timeout: text, trip: text })),
    }),
    targets: object({
      apps: map(object({ ...policyNames, circuitBreakerCacheSize: int })),
      actors: map(object({ ...policyNames, circuitBreakerScope: text, circuitBreakerCacheSize: int })),
      components: map(object({ outbound: object(policyNames), inbound: object(policyNames) })),
    }),
  }),
)

const tlsText = object({ value: { 'x-text': true }, secretKeyRef })
const httpEndpoint = kind(
  'HTTPEndpoint',
  V1,
  object(
    {
      baseUrl: { type: 'string', minLength: 1 },
      headers: list(pair),
      clientTLS: object({ rootCA: tlsText, certificate: tlsText, privateKey: tlsText, renegotiation: text }),
    },
    ['baseUrl'],
  ),
  { auth },
)

const mcpAuth = object({
  secretStore: text,
  oauth2: object({ issuer: text, audience: text, scopes: texts, clientID: text, secretKeyRef }),
  spiffe: object({ jwt: object({ header: text, headerValuePrefix: text, audience: text }) }),
})
const mcpHttp = object(
  { url: { type: 'string', minLength: 1 }, protocolVersion: text, timeout: text, headers: list(pair), auth: mcpAuth },
  ['url'],
)
const mcpHook = list(object({ workflow: object({ workflowName: text, appID: text }, ['workflowName']), mutate: bool }))
const mcpServer = kind(
  'MCPServer',
  V1,
  object(
    {
      catalog: object({ displayName: text, description: text, owner: object({ team: text, contact: text }), tags: texts, links: textMap }),
      endpoint: object(
        {
          streamableHTTP: mcpHttp,
          sse: mcpHttp,
          stdio: object({ command: { type: 'string', minLength: 1 }, args: texts, env: list(pair) }, ['command']),
        },
        [],
        { minProperties: 1, maxProperties: 1 },
      ),
      middleware: object({ beforeCallTool: mcpHook, afterCallTool: mcpHook, beforeListTools: mcpHook, afterListTools: mcpHook }),
      ignoreErrors: bool,
    },
    ['endpoint'],
  ),
  { auth },
)

const shortText: Schema = { type: 'string', minLength: 1, maxLength: 256 }
const requires = list(
  object(
    {
      eventType: {
        type: 'string',
        enum: ['activity.started', 'activity.completed', 'workflow.started', 'workflow.completed', 'event.raised'],
      },
      name: shortText,
      appID: shortText,
    },
    ['eventType'],
  ),
  { maxItems: 20 },
)
const operations = list(
  { type: 'string', enum: ['schedule', 'terminate', 'raise', 'pause', 'resume', 'purge', 'get', 'rerun'] },
  { minItems: 1, maxItems: 8 },
)
const workflowAccessPolicy = kind(
  'WorkflowAccessPolicy',
  V1,
  object(
    {
      rules: list(
        object(
          {
            callers: list(object({ appID: shortText }, ['appID']), { minItems: 1, maxItems: 100 }),
            workflows: list(object({ name: shortText, operations, requires }, ['name', 'operations']), { maxItems: 100 }),
            activities: list(object({ name: shortText, requires }, ['name']), { maxItems: 100 }),
          },
          ['callers'],
        ),
        { maxItems: 100 },
      ),
    },
    ['rules'],
  ),
)

const configuration = kind('Configuration', V1, configurationSpec, {}, [])

const SCHEMAS: Readonly<Record<string, Schema>> = {
  [`Component ${V1}`]: component,
  [`Configuration ${V1}`]: configuration,
  [`Subscription ${V1}`]: subscriptionV1,
  [`Subscription ${V2}`]: subscriptionV2,
  [`Resiliency ${V1}`]: resiliency,
  [`HTTPEndpoint ${V1}`]: httpEndpoint,
  [`MCPServer ${V1}`]: mcpServer,
  [`WorkflowAccessPolicy ${V1}`]: workflowAccessPolicy,
  [`TrafficPolicy ${OUTRIDER_V1}`]: kind('TrafficPolicy', OUTRIDER_V1, trafficPolicySpec),
  [`StoreAndForward ${OUTRIDER_V1}`]: kind('StoreAndForward', OUTRIDER_V1, storeAndForwardSpec),
  ...Object.fromEntries(Object.entries(ROLE_KINDS).map(([name, { spec }]) => [`${name} ${OUTRIDER_V1}`, kind(name, OUTRIDER_V1, spec)])),
}

/** JSON Schema of a kind, undefined when there is no such kind in that version (default: `dapr.io/v1alpha1`, of our own kinds ours). */
export function schemaOf(kind: string, apiVersion: string = OWN_KINDS.includes(kind) ? OUTRIDER_V1 : V1): Schema | undefined {
  return SCHEMAS[`${kind} ${apiVersion}`]
}

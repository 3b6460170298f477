import { anything, bool, int, list, object, text, textMap, texts } from './schema-parts.ts'

const handlers = object({
  handlers: list(
    object({ name: text, type: text, version: text, selector: object({ fields: list(object({ field: text, value: text })) }) }, [
      'name',
      'type',
    ]),
  ),
})
const metrics = object({
  enabled: bool,
  recordErrorCodes: bool,
  http: object({ increasedCardinality: bool, pathMatching: texts, excludeVerbs: bool }),
  latencyDistributionBuckets: list(int),
  workflow: object({ latencyDistributionBuckets: list(int), latencyDistributionUnits: text }),
  rules: list(object({ name: text, labels: list(object({ name: text, regex: textMap })) })),
})
const apiRules = list(object({ name: text, version: text, protocol: text }, ['name']))
const concurrency = list(object({ name: text, maxConcurrent: int }, ['name', 'maxConcurrent']))

/** `spec` of a Configuration. */
export const configurationSpec = object({
  appHttpPipeline: handlers,
  httpPipeline: handlers,
  tracing: object({
    samplingRate: text,
    stdout: bool,
    zipkin: object({ endpointAddress: text }),
    otel: object({ endpointAddress: text, protocol: text, isSecure: bool, headers: anything, timeout: text }),
  }),
  metric: metrics,
  metrics,
  mtls: object({
    enabled: bool,
    workloadCertTTL: text,
    allowedClockSkew: text,
    sentryAddress: text,
    controlPlaneTrustDomain: text,
    tokenValidators: list(object({ name: text, options: anything })),
  }),
  secrets: object({
    scopes: list(object({ storeName: text, defaultAccess: text, allowedSecrets: texts, deniedSecrets: texts }, ['storeName'])),
  }),
  accessControl: object({
    defaultAction: text,
    trustDomain: text,
    policies: list(
      object({
        appId: text,
        trustDomain: text,
        namespace: text,
        defaultAction: text,
        operations: list(object({ name: text, httpVerb: texts, action: text })),
      }),
    ),
  }),
  nameResolution: object({ component: text, version: text, configuration: anything }),
  features: list(object({ name: text, enabled: bool }, ['name'])),
  api: object({ allowed: apiRules, denied: apiRules }),
  components: object({ deny: texts }),
  logging: object({ apiLogging: object({ enabled: bool, obfuscateURLs: bool, omitHealthChecks: bool }) }),
  wasm: object({ strictSandbox: bool }),
  workflow: object({
    maxConcurrentWorkflowInvocations: int,
    maxConcurrentActivityInvocations: int,
    globalMaxConcurrentWorkflowInvocations: int,
    globalMaxConcurrentActivityInvocations: int,
    workflowConcurrencyLimits: concurrency,
    activityConcurrencyLimits: concurrency,
    stateRetentionPolicy: object({ anyTerminal: text, completed: text, failed: text, terminated: text }),
  }),
})

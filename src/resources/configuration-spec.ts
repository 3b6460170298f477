export interface PipelineHandler {
  /** metadata.name of the middleware component. */
  name: string
  type: string
  version?: string
}
export interface MetricsSpec {
  enabled?: boolean
  recordErrorCodes?: boolean
  http?: { increasedCardinality?: boolean; pathMatching?: string[]; excludeVerbs?: boolean }
  /** Milliseconds. */
  latencyDistributionBuckets?: number[]
  workflow?: { latencyDistributionBuckets?: number[]; latencyDistributionUnits?: string }
  rules?: MetricsRule[]
}
export interface MetricsRule {
  name?: string
  labels?: { name?: string; regex?: Record<string, string> }[]
}
export interface SecretScope {
  storeName: string
  /** allow (default) or deny. */
  defaultAccess?: string
  allowedSecrets?: string[]
  deniedSecrets?: string[]
}
export interface AccessPolicy {
  appId?: string
  trustDomain?: string
  namespace?: string
  defaultAction?: string
  operations?: { name?: string; httpVerb?: string[]; action?: string }[]
}
export interface AccessControlSpec {
  defaultAction?: string
  trustDomain?: string
  policies?: AccessPolicy[]
}
export interface ApiRule {
  /** Group of the API, e.g. `state`. */
  name: string
  /** e.g. `v1.0`; absent: all. */
  version?: string
  /** http or grpc; absent: both. */
  protocol?: string
}
export interface NameResolutionSpec {
  component?: string
  version?: string
  configuration?: unknown
}

/** spec of a Configuration, as written and merged. */
export interface ConfigurationSpec {
  httpPipeline?: { handlers?: PipelineHandler[] }
  appHttpPipeline?: { handlers?: PipelineHandler[] }
  tracing?: {
    samplingRate?: string
    stdout?: boolean
    zipkin?: { endpointAddress?: string }
    otel?: { endpointAddress?: string; protocol?: string; isSecure?: boolean; headers?: unknown; timeout?: string }
  }
  metric?: MetricsSpec
  metrics?: MetricsSpec
  mtls?: Record<string, unknown>
  secrets?: { scopes?: SecretScope[] }
  accessControl?: AccessControlSpec
  nameResolution?: NameResolutionSpec
  features?: { name: string; enabled?: boolean }[]
  api?: { allowed?: ApiRule[]; denied?: ApiRule[] }
  components?: { deny?: string[] }
  logging?: { apiLogging?: { enabled?: boolean; obfuscateURLs?: boolean; omitHealthChecks?: boolean } }
  wasm?: { strictSandbox?: boolean }
  workflow?: Record<string, unknown>
}

/** A Configuration with its defaults in place. */
export interface Configuration {
  /** metadata.name of each file, in order; empty when there is none. */
  names: readonly string[]
  /** As merged, for what has no field of its own here. */
  spec: ConfigurationSpec
  httpPipeline: readonly PipelineHandler[]
  appHttpPipeline: readonly PipelineHandler[]
  tracing: {
    /** As written; unset or unparsable means 0.0001. */
    samplingRate?: string
    stdout: boolean
    zipkin?: { endpointAddress?: string }
    otel?: {
      endpointAddress?: string
      protocol?: string
      isSecure: boolean
      headers: readonly { name: string; value: string }[]
      timeout?: string
    }
  }
  metrics: {
    enabled: boolean
    recordErrorCodes: boolean
    http: { increasedCardinality: boolean; pathMatching: readonly string[]; excludeVerbs: boolean }
    latencyDistributionBuckets?: readonly number[]
    rules: readonly MetricsRule[]
  }
  secretScopes: readonly SecretScope[]
  /** Undefined: everything is allowed. */
  accessControl?: AccessControlSpec
  nameResolution?: NameResolutionSpec
  /** What the files say; ask `featureEnabled`, which knows the defaults. */
  features: ReadonlyMap<string, boolean>
  api: { allowed: readonly ApiRule[]; denied: readonly ApiRule[] }
  /** `type` or `type/version`. */
  deniedComponents: readonly string[]
  apiLogging: { enabled: boolean; obfuscateUrls: boolean; omitHealthChecks: boolean }
}

import { configServerKind } from './config-server-schema.ts'
import type { Schema } from './json-schema.ts'
import type { Resource } from './kinds.ts'
import { checkLogPipeline, postedTo } from './log-pipeline-check.ts'
import { logPipelineSpec } from './log-pipeline-schema.ts'
import { metricsAdapterKind } from './metrics-adapter-schema.ts'
import { checkProxy, proxySpec } from './proxy-schema.ts'
import { secretFilesKind } from './secret-files-schema.ts'
import { securityRulesKind } from './security-rules-schema.ts'

/** One kind of resource that gives a sidecar a further role; see `agent/role.ts`. */
export interface RoleKind {
  /** Schema of `spec`: closed, a name that is not known is a mistake. */
  spec: Schema
  /** What the schema cannot say; a complaint leaves the resource out. */
  check?(spec: Readonly<Record<string, unknown>>): { message: string; path?: readonly string[] } | undefined
  /** Paths that it has on the agents' port to itself: a second resource that wants one of them is left out. */
  serves?(spec: Readonly<Record<string, unknown>>): readonly string[]
  /** What to do about two that want the same path. */
  apart?: string
}

/** By the name of the kind. Every row has its schema in a file of its own beside this one. */
export const ROLE_KINDS: Readonly<Record<string, RoleKind>> = {
  ConfigServer: configServerKind,
  MetricsAdapter: metricsAdapterKind,
  LogPipeline: {
    spec: logPipelineSpec,
    check: checkLogPipeline,
    serves: postedTo,
    apart: 'give one of them an http.path, or an http.port, of its own',
  },
  Proxy: { spec: proxySpec, check: checkProxy },
  SecretFiles: secretFilesKind,
  SecurityRules: securityRulesKind,
}

/** The kind of this name, undefined when it is none. */
export function roleKind(name: string): RoleKind | undefined {
  return Object.hasOwn(ROLE_KINDS, name) ? ROLE_KINDS[name] : undefined
}

/** A role as its document has it. */
export interface RoleResource extends Resource {
  kind: string
  /** Fits the schema of its kind. */
  spec: Readonly<Record<string, unknown>>
}

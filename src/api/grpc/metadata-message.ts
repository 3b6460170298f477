import type { Metadata } from '../../blocks/metadata.ts'
import {
  bool,
  type EnumType,
  enumeration,
  type InputOf,
  int32,
  map,
  message,
  nested,
  repeated,
  string,
} from '../../transport/grpc/message.ts'

const runtime = 'dapr.proto.runtime.v1.'
const RUNTIME_STATUS: EnumType = {
  fullName: `${runtime}ActorRuntime.ActorRuntimeStatus`,
  values: { 0: 'INITIALIZING', 1: 'DISABLED', 2: 'RUNNING' },
}
const SUBSCRIPTION_TYPE: EnumType = {
  fullName: `${runtime}PubsubSubscriptionType`,
  values: { 0: 'UNKNOWN', 1: 'DECLARATIVE', 2: 'PROGRAMMATIC', 3: 'STREAMING' },
}
const named = (type: string) => message(runtime + type, { name: string(1) })
const ActiveActorsCount = message(`${runtime}ActiveActorsCount`, { type: string(1), count: int32(2) })
const PubsubSubscriptionRule = message(`${runtime}PubsubSubscriptionRule`, { match: string(1), path: string(2) })

export const GetMetadataRequest = message(`${runtime}GetMetadataRequest`, {})
export const SetMetadataRequest = message(`${runtime}SetMetadataRequest`, { key: string(1), value: string(2) })
export const GetMetadataResponse = message(`${runtime}GetMetadataResponse`, {
  id: string(1),
  activeActorsCount: repeated(nested(2, ActiveActorsCount)),
  registeredComponents: repeated(
    nested(
      3,
      message(`${runtime}RegisteredComponents`, {
        name: string(1),
        type: string(2),
        version: string(3),
        capabilities: repeated(string(4)),
      }),
    ),
  ),
  extendedMetadata: map(4),
  subscriptions: repeated(
    nested(
      5,
      message(`${runtime}PubsubSubscription`, {
        pubsubName: string(1),
        topic: string(2),
        metadata: map(3),
        rules: nested(4, message(`${runtime}PubsubSubscriptionRules`, { rules: repeated(nested(1, PubsubSubscriptionRule)) })),
        deadLetterTopic: string(5),
        type: enumeration(6, SUBSCRIPTION_TYPE),
      }),
    ),
  ),
  httpEndpoints: repeated(nested(6, named('MetadataHTTPEndpoint'))),
  appConnectionProperties: nested(
    7,
    message(`${runtime}AppConnectionProperties`, {
      port: int32(1),
      protocol: string(2),
      channelAddress: string(3),
      maxConcurrency: int32(4),
      health: nested(
        5,
        message(`${runtime}AppConnectionHealthProperties`, {
          healthCheckPath: string(1),
          healthProbeInterval: string(2),
          healthProbeTimeout: string(3),
          healthThreshold: int32(4),
        }),
      ),
    }),
  ),
  runtimeVersion: string(8),
  enabledFeatures: repeated(string(9)),
  actorRuntime: nested(
    10,
    message(`${runtime}ActorRuntime`, {
      runtimeStatus: enumeration(1, RUNTIME_STATUS),
      activeActors: repeated(nested(2, ActiveActorsCount)),
      hostReady: bool(3),
      placement: string(4),
    }),
  ),
  scheduler: nested(11, message(`${runtime}MetadataScheduler`, { connectedAddresses: repeated(string(1)) })),
  workflows: nested(12, message(`${runtime}MetadataWorkflows`, { connectedWorkers: int32(1) })),
  mcpServers: repeated(nested(13, named('MetadataMCPServer'))),
  workflowAccessPolicies: repeated(nested(14, named('MetadataWorkflowAccessPolicy'))),
  resiliencies: repeated(nested(15, named('MetadataResiliency'))),
})

/** A subscription as `/v1.0/metadata` shows it. */
interface Subscription {
  pubsubname?: string
  topic?: string
  metadata?: Record<string, string>
  rules?: { match?: string; path?: string }[]
  deadLetterTopic?: string
  type?: string
}

/** What the block tells, as the message says it: Dapr sends some members over gRPC that its JSON leaves out when empty. */
export function metadataMessage(metadata: Metadata): InputOf<typeof GetMetadataResponse> {
  const { components, extended, subscriptions, appConnectionProperties, actorRuntime, ...same } = metadata
  return {
    ...same,
    registeredComponents: components,
    extendedMetadata: extended,
    subscriptions: ((subscriptions ?? []) as Subscription[]).map(({ pubsubname, rules, type, ...rest }) => ({
      ...rest,
      pubsubName: pubsubname,
      rules: { rules: rules ?? [] },
      type: numberOf(SUBSCRIPTION_TYPE, type),
    })),
    appConnectionProperties: appConnectionProperties ?? {},
    workflows: {},
    actorRuntime: { ...actorRuntime, runtimeStatus: numberOf(RUNTIME_STATUS, actorRuntime.runtimeStatus) },
  }
}

function numberOf(type: EnumType, name: string | undefined): number {
  return Number(Object.entries(type.values).find(([, value]) => value === name)?.[0] ?? 0)
}

import { bytes, enumeration, type MessageType, message, repeated, string } from '../../transport/grpc/message.ts'

const SERVICE = '/dapr.proto.operator.v1.Operator/'
const PACKAGE = 'dapr.proto.operator.v1.'

/** What happened to a resource. */
export const EventType = { UNKNOWN: 0, CREATED: 1, UPDATED: 2, DELETED: 3 } as const

const eventType = { fullName: `${PACKAGE}ResourceEventType`, values: { 0: 'UNKNOWN', 1: 'CREATED', 2: 'UPDATED', 3: 'DELETED' } }

/** How the operator is asked for resources of one kind, and tells of their changes. */
export interface OperatorKind {
  apiVersion: string
  /** Undefined: there is no such call. */
  list:
    | {
        path: string
        request: MessageType<{ namespace: string }, { namespace?: string }>
        /** JSON texts. */
        reply: MessageType<{ items: Buffer[] }, { items?: readonly Uint8Array[] }>
      }
    | undefined
  updates: {
    path: string
    request: MessageType<{ namespace: string }, { namespace?: string }>
    event: MessageType<{ resource: Buffer; type: number }, { resource?: Uint8Array; type?: number }>
  }
}

interface Names {
  list?: [method: string, request: string, reply: string, namespaceField?: number]
  updates: string
  apiVersion?: string
}

function kind({ list, updates, apiVersion = 'dapr.io/v1alpha1' }: Names): OperatorKind {
  return {
    apiVersion,
    list: list && {
      path: SERVICE + list[0],
      request: message(PACKAGE + list[1], { namespace: string(list[3] ?? 1) }),
      reply: message(PACKAGE + list[2], { items: repeated(bytes(1)) }),
    },
    updates: {
      path: `${SERVICE}${updates}`,
      request: message(`${PACKAGE}${updates}Request`, { namespace: string(1) }),
      event: message(`${PACKAGE}${updates}Event`, { resource: bytes(1), type: enumeration(2, eventType) }),
    },
  }
}

/** The kinds that an operator gives to sidecars. */
export const OPERATOR_KINDS = {
  Component: kind({ list: ['ListComponents', 'ListComponentsRequest', 'ListComponentResponse'], updates: 'ComponentUpdate' }),
  Subscription: kind({
    list: ['ListSubscriptionsV2', 'ListSubscriptionsRequest', 'ListSubscriptionsResponse', 2],
    updates: 'SubscriptionUpdate',
    apiVersion: 'dapr.io/v2alpha1',
  }),
  Resiliency: kind({ list: ['ListResiliency', 'ListResiliencyRequest', 'ListResiliencyResponse'], updates: 'ResiliencyUpdate' }),
  HTTPEndpoint: kind({
    list: ['ListHTTPEndpoints', 'ListHTTPEndpointsRequest', 'ListHTTPEndpointsResponse'],
    updates: 'HTTPEndpointUpdate',
  }),
  MCPServer: kind({ list: ['ListMCPServers', 'ListMCPServersRequest', 'ListMCPServersResponse'], updates: 'MCPServerUpdate' }),
  WorkflowAccessPolicy: kind({
    list: ['ListWorkflowAccessPolicy', 'ListWorkflowAccessPolicyRequest', 'ListWorkflowAccessPolicyResponse'],
    updates: 'WorkflowAccessPolicyUpdate',
  }),
  Configuration: kind({ updates: 'ConfigurationUpdate' }),
} as const satisfies Record<string, OperatorKind>

export type OperatorKindName = keyof typeof OPERATOR_KINDS

const OWN_SERVICE = '/outrider.operator.v1.Resources/'
const OWN_PACKAGE = 'outrider.operator.v1.'

/** Stands for all kinds of our own where a kind is named. */
export const OWN_GROUP = 'outrider.dev'

/**
 * Kinds of outrider.dev: one list and one stream for all of them, of a service of our own, which Dapr's operator does not have. Each
 * text says itself of which kind it is.
 */
export const OWN_RESOURCES: OperatorKind = {
  apiVersion: `${OWN_GROUP}/v1`,
  list: {
    path: `${OWN_SERVICE}List`,
    request: message(`${OWN_PACKAGE}ListRequest`, { namespace: string(1) }),
    reply: message(`${OWN_PACKAGE}ListReply`, { items: repeated(bytes(1)) }),
  },
  updates: {
    path: `${OWN_SERVICE}Watch`,
    request: message(`${OWN_PACKAGE}WatchRequest`, { namespace: string(1) }),
    event: message(`${OWN_PACKAGE}WatchEvent`, { resource: bytes(1), type: enumeration(2, eventType) }),
  },
}

/** What a sidecar lists and follows. */
export type FollowedName = OperatorKindName | typeof OWN_GROUP

export function followedKind(name: FollowedName): OperatorKind {
  return name === OWN_GROUP ? OWN_RESOURCES : OPERATOR_KINDS[name]
}

export const GET_CONFIGURATION = {
  path: `${SERVICE}GetConfiguration`,
  request: message(`${PACKAGE}GetConfigurationRequest`, { name: string(1), namespace: string(2) }),
  reply: message(`${PACKAGE}GetConfigurationResponse`, { configuration: bytes(1) }),
}

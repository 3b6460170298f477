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

export const GET_CONFIGURATION = {
  path: `${SERVICE}GetConfiguration`,
  request: message(`${PACKAGE}GetConfigurationRequest`, { name: string(1), namespace: string(2) }),
  reply: message(`${PACKAGE}GetConfigurationResponse`, { configuration: bytes(1) }),
}

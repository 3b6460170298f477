import type { OperatorKindName } from '../../resources/operator/messages.ts'

/** Where the API server keeps each kind that sidecars are given. */
export const COLLECTIONS: Readonly<Record<OperatorKindName, { version: string; plural: string }>> = {
  Component: { version: 'v1alpha1', plural: 'components' },
  Subscription: { version: 'v2alpha1', plural: 'subscriptions' },
  Configuration: { version: 'v1alpha1', plural: 'configurations' },
  Resiliency: { version: 'v1alpha1', plural: 'resiliencies' },
  HTTPEndpoint: { version: 'v1alpha1', plural: 'httpendpoints' },
  MCPServer: { version: 'v1alpha1', plural: 'mcpservers' },
  WorkflowAccessPolicy: { version: 'v1alpha1', plural: 'workflowaccesspolicies' },
}

/** The collection's path, of all namespaces or of one. */
export function collectionPath(kind: OperatorKindName, namespace: string): string {
  const { version, plural } = COLLECTIONS[kind]
  return `/apis/dapr.io/${version}${namespace === '' ? '' : `/namespaces/${encodeURIComponent(namespace)}`}/${plural}`
}

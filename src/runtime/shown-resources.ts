import type { McpServerResource, Resource, Resources } from '../resources/kinds.ts'
import { mcpLogName } from '../resources/load.ts'
import type { Logger } from '../telemetry/log.ts'

/** Kinds that are read, checked and shown by metadata, and whose purpose this version does not serve. */
export type ShownKind = 'MCPServer' | 'WorkflowAccessPolicy'

/** Says that a resource is there, and what is not to be expected of it. */
export function tellShown(kind: ShownKind, resource: Resource, log: Logger): void {
  if (kind === 'MCPServer')
    log.warn(`MCPServer loaded: ${mcpLogName(resource as McpServerResource)}; metadata shows it, this version does not serve its tools`)
  else log.warn(`WorkflowAccessPolicy loaded: ${resource.name}; without effect, this version does not serve workflows`)
}

/** Says it of all that are there at the start. */
export function tellAllShown({ mcpServers, workflowAccessPolicies }: Resources, log: Logger): void {
  for (const server of mcpServers) tellShown('MCPServer', server, log)
  for (const policy of workflowAccessPolicies) tellShown('WorkflowAccessPolicy', policy, log)
}

import { messageOf } from '../errors.ts'
import type { McpServerResource, Resource, Resources } from '../resources/kinds.ts'
import { mcpLogName } from '../resources/load.ts'
import type { Logger } from '../telemetry/log.ts'
import { checkMcpServer } from './mcp-server-check.ts'

/** Kinds that are read, checked and shown by metadata, and whose purpose this version does not serve. */
type ShownKind = 'MCPServer' | 'WorkflowAccessPolicy'

/** Says that a resource is there, and what is not to be expected of it. */
export function tellShown(kind: ShownKind, resource: Resource, log: Logger): void {
  if (kind === 'MCPServer')
    log.warn(`MCPServer loaded: ${mcpLogName(resource as McpServerResource)}; metadata shows it, this version does not serve its tools`)
  else log.warn(`WorkflowAccessPolicy loaded: ${resource.name}; without effect, this version does not serve workflows`)
}

/**
 * Checks and tells of all that are there at the start. An MCPServer that must not be used is dropped from them when it says
 * `ignoreErrors`; else this throws McpServerError.
 */
export function tellAllShown(resources: Resources, log: Logger): void {
  resources.mcpServers = resources.mcpServers.filter((server) => {
    try {
      checkMcpServer(server)
    } catch (error) {
      if (!server.ignoreErrors) {
        log.warn(`Error processing MCPServer, daprd will exit gracefully: ${messageOf(error)}`)
        throw error
      }
      log.error(`Ignoring error processing MCPServer: ${messageOf(error)}`)
      return false
    }
    tellShown('MCPServer', server, log)
    return true
  })
  for (const policy of resources.workflowAccessPolicies) tellShown('WorkflowAccessPolicy', policy, log)
}

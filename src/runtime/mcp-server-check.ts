import { relative, resolve, sep } from 'node:path'
import { messageOf } from '../errors.ts'
import type { McpServerResource } from '../resources/kinds.ts'

/** An MCPServer that reads well and must not be used; ends the start, unless it says `ignoreErrors`. */
export class McpServerError extends Error {
  override readonly name = 'McpServerError'
}

/** What a schema cannot say of it: only http and https are called, and only programs that are meant are started. Throws McpServerError. */
export function checkMcpServer({ name, endpoint }: McpServerResource): void {
  const problem =
    endpointProblem('streamableHTTP', endpoint.streamableHTTP?.url) ??
    endpointProblem('sse', endpoint.sse?.url) ??
    (endpoint.stdio && commandProblem(endpoint.stdio))
  if (problem) throw new McpServerError(`MCPServer "${name}" failed security validation: MCPServer "${name}": ${problem}`)
}

function endpointProblem(transport: string, url: string | undefined): string | undefined {
  if (url === undefined) return undefined
  try {
    const { protocol } = new URL(url)
    if (protocol !== 'http:' && protocol !== 'https:')
      return `${transport}.url scheme must be http or https, got "${protocol.slice(0, -1)}"`
    // A URL of these schemes finds a host in any slashes; this one is to be written as one.
    return /^https?:\/\/[^/]/i.test(url) ? undefined : `${transport}.url must have a host`
  } catch (error) {
    return `${transport}.url is not a valid URL: ${messageOf(error)}`
  }
}

function commandProblem({ command, env }: NonNullable<McpServerResource['endpoint']['stdio']>): string | undefined {
  if (command.includes(sep) && !command.startsWith(sep) && relative('.', resolve(command)).split(sep)[0] === '..')
    return 'stdio.command must not escape working directory'
  const bad = env?.find(({ name }) => /[=\n\0]/.test(name))
  return bad && `stdio.env name ${JSON.stringify(bad.name)} contains invalid characters`
}

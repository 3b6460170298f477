import type { ConversationBlock } from '../../../blocks/conversation/block.ts'
import type { ConversationMessage, ConversationRequest, ConversationResult } from '../../../blocks/conversation/driver.ts'
import { Code, messageOf, OutriderError } from '../../../errors.ts'
import { type Call, json, type Route } from '../route.ts'

type Fields = Record<string, unknown>

/** POST `/v1.0-alpha1` and `-alpha2/conversation/{name}/converse`. */
export function conversationRoutes(block: ConversationBlock): Route[] {
  const row = { methods: ['POST'], group: 'conversation', name: 'Converse' }
  return [
    {
      ...row,
      version: 'v1alpha1',
      path: '/v1.0-alpha1/conversation/:name/converse',
      handler: async (call) => {
        const body = await read(call)
        const requests = list(body.inputs).map((input) => ({
          messages: [{ role: 'user' as const, text: [String(input.content ?? '')] }],
          tools: [],
        }))
        const results = await block.converse(call.params.name as string, requests, call.signal)
        const contextID = body.contextID ?? body.context_id
        return json({ ...(contextID ? { contextID } : {}), outputs: results.map(({ text }) => ({ result: text })) })
      },
    },
    {
      ...row,
      version: 'v1alpha2',
      path: '/v1.0-alpha2/conversation/:name/converse',
      handler: async (call) => {
        const body = await read(call)
        const tools = list(body.tools).map((tool) => {
          const fn = fields(tool.function)
          return { name: String(fn.name ?? ''), parameters: Object.keys(fields(fields(fn.parameters).properties)) }
        })
        const requests: ConversationRequest[] = list(body.inputs).map((input) => ({
          messages: list(input.messages).map((message) => messageFrom(call.params.name as string, message)),
          tools,
        }))
        const results = await block.converse(call.params.name as string, requests, call.signal)
        const contextId = body.contextId ?? body.context_id
        return json({ ...(contextId ? { contextId } : {}), outputs: results.map(outputOf) })
      },
    },
  ]
}

async function read(call: Call): Promise<Fields> {
  const body = await call.body()
  if (body.length === 0) return {}
  try {
    return fields(JSON.parse(body.toString()))
  } catch (error) {
    throw new OutriderError({
      code: 'ERR_MALFORMED_REQUEST',
      http: 400,
      grpc: Code.InvalidArgument,
      message: `failed deserializing HTTP body: ${messageOf(error)}`,
      hint: 'Send a JSON object.',
    })
  }
}

const ROLES = ['developer', 'system', 'user', 'assistant', 'tool'] as const

/** protojson: `ofUser` and `of_user` are one field. */
function messageFrom(component: string, message: Fields): ConversationMessage {
  for (const role of ROLES) {
    const found = message[`of_${role}`] ?? message[`of${role[0]?.toUpperCase()}${role.slice(1)}`]
    if (found === undefined) continue
    const body = fields(found)
    return {
      role,
      name: optional(body.name),
      text: list(body.content).map((part) => String(part.text ?? '')),
      toolId: optional(body.toolId ?? body.tool_id),
    }
  }
  throw new OutriderError({
    code: 'ERR_CONVERSATION_INVALID_PARMS',
    http: 400,
    grpc: Code.InvalidArgument,
    message: `failed conversing with component ${component}: invalid params: message type not found`,
    hint: `Each message is exactly one of ${ROLES.map((role) => `of_${role}`).join(', ')}.`,
  })
}

function outputOf(result: ConversationResult) {
  const toolCalls = result.toolCalls.map(({ id, name, arguments: text }) => ({
    ...(id ? { id } : {}),
    function: { name, arguments: text },
  }))
  const message = { content: result.text, ...(toolCalls.length > 0 && { toolCalls }) }
  const usage = result.usage && {
    completionTokens: String(result.usage.completion),
    promptTokens: String(result.usage.prompt),
    totalTokens: String(result.usage.completion + result.usage.prompt),
  }
  return {
    choices: [{ finishReason: result.finishReason, message }],
    ...(result.model ? { model: result.model } : {}),
    ...(usage && { usage }),
  }
}

function fields(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : {}
}
function list(value: unknown): Fields[] {
  return Array.isArray(value) ? value.map(fields) : []
}
function optional(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

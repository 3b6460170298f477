import type { ConversationComponent, ConversationMessage, ConversationTool, ToolCall } from '../../../blocks/conversation/driver.ts'
import type { DriverModule } from '../../component.ts'

/** Words of a text, as Dapr's echo counts tokens. */
const words = (text: string) => text.split(/\s+/).filter(Boolean).length

function textsOf({ text, answers }: ConversationMessage): readonly string[] {
  return answers ? text.map((part) => `Tool Response for tool ID '${answers.id}' with name '${answers.name}': ${part}`) : text
}

/** A call of an offered tool: its arguments are the names of its parameters. */
function callOf({ name, parameters }: ConversationTool, index: number): ToolCall {
  const properties = parameters && 'properties' in parameters ? parameters.properties : {}
  if (typeof properties !== 'object' || properties === null || Array.isArray(properties))
    throw new Error(`tool function properties must be a map[string]any, got ${goType(properties)}`)
  return { id: String(index), name, arguments: Object.keys(properties).sort().join(',') }
}

/** As daprd names it. */
function goType(value: unknown): string {
  if (value === null) return '<nil>'
  return { number: 'float64', string: 'string', boolean: 'bool' }[typeof value as string] ?? '[]interface {}'
}

/** Answers with what it was told; offered tools are all called, and calls among the messages are repeated. For tests and demos. */
export const driver: DriverModule<ConversationComponent> = {
  summary: 'Answers with what it was told; for tests and demos.',
  metadata: [],
  create: () => ({
    async init() {},
    async converse({ messages, tools }) {
      const text = messages.flatMap(textsOf).join('\n')
      const toolCalls = [...tools.map(callOf), ...messages.flatMap((message) => message.toolCalls ?? [])]
      const count = words(text)
      return {
        choices: [{ text, toolCalls, finishReason: toolCalls.length > 0 ? 'tool_calls' : 'stop' }],
        usage: { prompt: count, completion: count, total: 2 * count },
      }
    },
    async [Symbol.asyncDispose]() {},
  }),
}

import type { ConversationComponent, ConversationMessage } from '../../../blocks/conversation/driver.ts'
import type { DriverModule } from '../../component.ts'

/** Words of a text, as Dapr's echo counts tokens. */
const words = (text: string) => text.split(/\s+/).filter(Boolean).length

function textOf(message: ConversationMessage): string {
  const text = message.text.join('\n')
  return message.role === 'tool' ? `Tool Response for tool ID '${message.toolId ?? ''}' with name '${message.name ?? ''}': ${text}` : text
}

/** Answers with what it was told; offered tools are all called. For tests and demos. */
export const driver: DriverModule<ConversationComponent> = {
  summary: 'Answers with what it was told; for tests and demos.',
  metadata: [],
  create: () => ({
    async init() {},
    async converse({ messages, tools }) {
      const text = messages.map(textOf).join('\n')
      const toolCalls = tools.map((tool, index) => ({
        id: String(index),
        name: tool.name,
        arguments: [...tool.parameters].sort().join(','),
      }))
      return {
        text,
        toolCalls,
        finishReason: tools.length > 0 ? 'tool_calls' : 'stop',
        usage: { prompt: words(text), completion: words(text) },
      }
    },
    async [Symbol.asyncDispose]() {},
  }),
}
